//! Choices, and what can't be chosen from.

use crate::error::ModelError;
use crate::sampler::Sampler;

const DRAWS: usize = 20_000;

fn sampler(temperature: f64, top_p: f64) -> Sampler {
    Sampler::new(temperature, top_p, 7).unwrap()
}

fn draw(sampler: &mut Sampler, logits: &[f32], count: usize) -> Vec<u32> {
    (0..count).map(|_| sampler.next(logits).unwrap()).collect()
}

/// The share of draws that each token gets.
fn shares(sampler: &mut Sampler, logits: &[f32]) -> Vec<f64> {
    let mut shares = vec![0.0; logits.len()];
    for token in draw(sampler, logits, DRAWS) {
        shares[token as usize] += 1.0 / DRAWS as f64;
    }
    shares
}

#[test]
fn greedy_takes_the_largest_and_of_equals_the_first() {
    for mut greedy in [Sampler::Greedy, sampler(0.0, 0.5)] {
        assert_eq!(greedy.next(&[0.0, 3.0, -1.0, 3.0]).unwrap(), 1);
        assert_eq!(greedy.next(&[f32::NEG_INFINITY, -5.0]).unwrap(), 1);
        assert_eq!(greedy.next(&[0.0; 4]).unwrap(), 0);
    }
}

#[test]
fn a_seed_makes_the_same_choices_again() {
    let logits: Vec<f32> = (0..50).map(|token| (token as f32 * 0.7).sin()).collect();
    let drawn = |seed| draw(&mut Sampler::new(1.0, 0.9, seed).unwrap(), &logits, 100);
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
}

/// Four standard deviations of a share of so many draws are below 0.015.
fn assert_shares(found: &[f64], expected: &[f64]) {
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 0.015, "{found}, not {expected}");
    }
}

#[test]
fn tokens_come_as_often_as_they_are_likely() {
    let logits = [0.1f32, 0.4, 0.2, 0.3].map(f32::ln);
    assert_shares(&shares(&mut sampler(1.0, 1.0), &logits), &[0.1, 0.4, 0.2, 0.3]);
    // A temperature of one half squares likelihoods.
    let squares = [1.0, 16.0, 4.0, 9.0].map(|square| square / 30.0);
    assert_shares(&shares(&mut sampler(0.5, 1.0), &logits), &squares);
}

#[test]
fn top_p_leaves_the_likeliest() {
    let logits = [0.1f32, 0.4, 0.2, 0.3].map(f32::ln);
    assert_shares(&shares(&mut sampler(1.0, 0.65), &logits), &[0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]);
    assert_shares(&shares(&mut sampler(1.0, 0.75), &logits), &[0.0, 4.0 / 9.0, 2.0 / 9.0, 3.0 / 9.0]);
    // However little is asked for, the likeliest is left; of equals the first.
    assert_eq!(draw(&mut sampler(1.0, 1e-9), &logits, 50), [1; 50]);
    assert_eq!(draw(&mut sampler(1.0, 0.2), &[0.0; 4], 50), [0; 50]);
    let shares = shares(&mut sampler(1.0, 0.5), &[0.0; 4]);
    assert_shares(&shares, &[0.5, 0.5, 0.0, 0.0]);
}

#[test]
fn extremes_are_no_trouble() {
    let logits = [f32::MIN, 0.0, f32::MAX, f32::NEG_INFINITY];
    for temperature in [1e-300, 1.0, 1e300] {
        for top_p in [0.9, 1.0] {
            assert!(!draw(&mut sampler(temperature, top_p), &logits, 50).contains(&3));
        }
    }
    assert_eq!(draw(&mut sampler(1.0, 1.0), &logits, 50), [2; 50]);
}

#[test]
fn logits_that_are_not_numbers_are_refused() {
    for mut sampler in [Sampler::Greedy, sampler(1.0, 1.0), sampler(1.0, 0.9)] {
        for bad in [f32::NAN, f32::INFINITY] {
            for logits in [[bad, 0.0], [0.0, bad]] {
                let token = usize::from(logits[0] == 0.0);
                let error = sampler.next(&logits).unwrap_err();
                assert!(matches!(error, ModelError::Logit { token: t, .. } if t == token), "{error}");
            }
        }
        for none in [&[][..], &[f32::NEG_INFINITY; 3]] {
            assert!(matches!(sampler.next(none), Err(ModelError::NoTokens)));
        }
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    for (temperature, top_p) in
        [(-0.1, 1.0), (f64::NAN, 1.0), (f64::INFINITY, 1.0), (1.0, 0.0), (1.0, 1.1), (1.0, f64::NAN)]
    {
        let error = Sampler::new(temperature, top_p, 0).unwrap_err();
        assert!(matches!(error, ModelError::Sampling { .. }), "{error}");
    }
}
