//! The agreement of two models, by the scores that they give to the classes of each input.

/// The signal to noise in dB: float's scores, and the difference from them.
pub fn sqnr(float: &[Vec<f32>], other: &[Vec<f32>]) -> f64 {
    let pairs =
        || float.iter().flatten().zip(other.iter().flatten()).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    let signal: f64 = pairs().map(|(a, _)| a * a).sum();
    let noise: f64 = pairs().map(|(a, b)| (a - b) * (a - b)).sum();
    10.0 * (signal / noise).log10()
}

/// The share of float's first `count` classes that are among the other's first `count`, over all inputs.
pub fn agreement(float: &[Vec<f32>], other: &[Vec<f32>], count: usize) -> f64 {
    let common = |(a, b): (&Vec<f32>, &Vec<f32>)| {
        let [a, b] = [a, b].map(|scores| first(scores, count));
        a.iter().filter(|class| b.contains(class)).count()
    };
    let common: usize = float.iter().zip(other).map(common).sum();
    common as f64 / (count * float.len()) as f64
}

/// The classes with the highest scores, the highest first.
fn first(scores: &[f32], count: usize) -> Vec<usize> {
    let mut classes: Vec<_> = (0..scores.len()).collect();
    classes.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    classes.truncate(count);
    classes
}
