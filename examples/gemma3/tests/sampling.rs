//! Which token is taken.

use crate::error::ModelError;
use crate::sampler::Sampler;

const LOGITS: [f32; 5] = [1.0, 3.0, -2.0, 3.0, 2.0];

/// How often each token is drawn.
fn counts(temperature: f64, top_p: f64) -> [usize; 5] {
    let mut sampler = Sampler::new(temperature, top_p, 1).unwrap();
    let mut counts = [0; 5];
    for _ in 0..10_000 {
        counts[sampler.next(&LOGITS).unwrap() as usize] += 1;
    }
    counts
}

#[test]
fn the_likeliest_and_of_equals_the_first() {
    assert_eq!(counts(0.0, 1.0), [0, 10_000, 0, 0, 0]);
    assert_eq!(Sampler::new(0.0, 1.0, 0).unwrap().next(&[f32::NEG_INFINITY, -9.0]).unwrap(), 1);
}

#[test]
fn tokens_are_drawn_as_often_as_they_are_likely() {
    let total: f64 = LOGITS.iter().map(|logit| f64::from(*logit).exp()).sum();
    for (count, logit) in counts(1.0, 1.0).into_iter().zip(LOGITS) {
        let expected = 10_000.0 * f64::from(logit).exp() / total;
        // Five standard deviations.
        assert!((count as f64 - expected).abs() < 5.0 * expected.sqrt() + 5.0, "{count}, not {expected}");
    }
}

#[test]
fn only_the_likely_ones() {
    let [first, second, third, fourth, fifth] = counts(1.0, 0.79);
    assert!(first == 0 && third == 0 && fifth == 0, "two tokens have 79.7 %");
    assert!(second > 4000 && fourth > 4000);
    let [first, _, third, _, fifth] = counts(1.0, 0.85);
    assert!(first == 0 && third == 0 && fifth > 500);
    assert_eq!(counts(1.0, 1e-9), [0, 10_000, 0, 0, 0]);
}

#[test]
fn a_low_temperature_is_nearly_greedy() {
    let [first, .., fifth] = counts(0.1, 1.0);
    assert!(first == 0 && fifth < 10);
}

#[test]
fn damaged_logits_and_senseless_options_are_errors() {
    for broken in [f32::NAN, f32::INFINITY] {
        let mut sampler = Sampler::new(1.0, 0.9, 0).unwrap();
        assert!(matches!(sampler.next(&[1.0, broken]), Err(ModelError::NotANumber)));
        let mut greedy = Sampler::new(0.0, 0.9, 0).unwrap();
        assert!(matches!(greedy.next(&[1.0, broken]), Err(ModelError::NotANumber)));
    }
    assert!(matches!(Sampler::new(0.0, 1.0, 0).unwrap().next(&[]), Err(ModelError::NotANumber)));
    for (temperature, top_p) in
        [(-1.0, 1.0), (f64::NAN, 1.0), (f64::INFINITY, 1.0), (1.0, 0.0), (1.0, 1.1), (1.0, f64::NAN)]
    {
        assert!(matches!(Sampler::new(temperature, top_p, 0), Err(ModelError::Option { .. })));
    }
}
