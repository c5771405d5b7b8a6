//! The order in which layers are given up.

use crate::config::LayerScheme;
use crate::quantize::sensitivity::{LayerSensitivity, Sensitivity};

/// The ways to treat one layer: the scheme of the configuration, then such as cost more and err less.
#[derive(Debug, Clone)]
pub(super) struct Ladder {
    pub(super) rungs: Vec<Rung>,
    /// The number of its weights.
    pub(super) weights: usize,
    /// The index of the first layer that has the same weights in memory: its own, unless layers are tied.
    pub(super) first: usize,
}

/// One way to treat a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rung {
    /// None leaves it float.
    pub(super) scheme: Option<LayerScheme>,
    sqnr_db: f64,
}

/// The ladders of all layers, and for each how far up it was gone.
pub(super) type Choice = Vec<usize>;

impl Ladder {
    /// The ladders of the layers that were observed, in their order. `copies` has a number for the memory of each layer's weights
    /// where that can be seen.
    pub(super) fn all(sensitivity: &Sensitivity, copies: &[Option<usize>]) -> Vec<Self> {
        let first = |index: usize| match copies[index] {
            Some(copy) => copies.iter().position(|other| *other == Some(copy)).unwrap_or(index),
            None => index,
        };
        sensitivity.layers.iter().enumerate().map(|(index, layer)| Self::new(layer, first(index))).collect()
    }

    /// Leaves out what costs more and does not err less. A layer that was not seen at work has nothing to gain.
    fn new(layer: &LayerSensitivity, first: usize) -> Self {
        let mut rungs: Vec<Rung> = Vec::new();
        for way in &layer.schemes {
            let sqnr_db = way.distortion.map_or(f64::INFINITY, |distortion| distortion.sqnr_db());
            if rungs.last().is_none_or(|last| sqnr_db > last.sqnr_db) {
                rungs.push(Rung { scheme: way.scheme, sqnr_db });
            }
        }
        Self { rungs, weights: layer.shape.iter().product(), first }
    }
}

/// The number of weights of all layers; those of tied layers count once.
pub(super) fn weights(ladders: &[Ladder]) -> usize {
    let first = ladders.iter().enumerate().filter(|(index, ladder)| ladder.first == *index);
    first.map(|(_, ladder)| ladder.weights).sum()
}

/// The number of weights that a choice leaves float: those of tied layers if it leaves one of these float.
pub(super) fn float_weights(ladders: &[Ladder], choice: &[usize]) -> usize {
    let first = ladders.iter().enumerate().filter(|(index, ladder)| ladder.first == *index);
    let float = first.filter(|(index, _)| is_left_float(*index, ladders, choice));
    float.map(|(_, ladder)| ladder.weights).sum()
}

/// Says whether a choice leaves these weights float in one of the layers that have them.
fn is_left_float(first: usize, ladders: &[Ladder], choice: &[usize]) -> bool {
    let mut tied = ladders.iter().zip(choice).filter(|(ladder, _)| ladder.first == first);
    tied.any(|(ladder, rung)| ladder.rungs[*rung].scheme.is_none())
}

/// Choices from no sacrifice to the largest. Each takes the layer that errs most in the one before one rung up, as long as at most
/// `float_weights` weights are left float and some layer is quantized.
pub(super) fn path(ladders: &[Ladder], most_float: usize) -> Vec<Choice> {
    let mut path = vec![vec![0; ladders.len()]];
    let mut float = 0;
    let is_float = |rung: &Rung| rung.scheme.is_none();
    while let Some(choice) = path.last() {
        let sqnr_db = |&layer: &usize| ladders[layer].rungs[choice[layer]].sqnr_db;
        // Weights that a tied layer has left float already cost nothing more.
        let cost = |layer: usize| {
            let is_paid = is_left_float(ladders[layer].first, ladders, choice);
            if is_paid { 0 } else { ladders[layer].weights }
        };
        let fits = |&layer: &usize| match ladders[layer].rungs.get(choice[layer] + 1) {
            Some(next) => !is_float(next) || cost(layer) <= most_float - float,
            None => false,
        };
        let worst = (0..ladders.len()).filter(fits).min_by(|a, b| sqnr_db(a).total_cmp(&sqnr_db(b)));
        let Some(layer) = worst else { break };
        let mut next = choice.clone();
        next[layer] += 1;
        if ladders.iter().zip(&next).all(|(ladder, rung)| is_float(&ladder.rungs[*rung])) {
            break;
        }
        if is_float(&ladders[layer].rungs[next[layer]]) {
            float += cost(layer);
        }
        path.push(next);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT8: LayerScheme = LayerScheme {
        range: crate::config::QuantRange::Symmetric,
        mode: crate::config::QuantMode::Dynamic,
        rotation: crate::config::Rotation::None,
        rounding: crate::config::Rounding::Nearest,
        smoothing: crate::config::Smoothing::None,
        codes: crate::config::InputCodes::Signed,
    };

    /// A layer for each of these, which are not tied.
    fn ladders<const N: usize>(layers: [(usize, &[f64]); N]) -> [Ladder; N] {
        let rung = |&sqnr_db: &f64| Rung { scheme: sqnr_db.is_finite().then_some(INT8), sqnr_db };
        std::array::from_fn(|first| {
            let (weights, sqnr_db) = layers[first];
            Ladder { rungs: sqnr_db.iter().map(rung).collect(), weights, first }
        })
    }

    #[test]
    fn the_worst_layer_goes_up_first() {
        let ladders = ladders([(1, &[30.0, 40.0, f64::INFINITY]), (1, &[10.0, 35.0, f64::INFINITY])]);
        let steps = path(&ladders, 2);
        assert_eq!(steps, [[0, 0], [0, 1], [1, 1], [1, 2]], "and the last layer is not given up");
        assert_eq!(float_weights(&ladders, &steps[3]), 1);
    }

    #[test]
    fn no_more_weights_are_float_than_allowed() {
        let ladders = ladders([(10, &[10.0, f64::INFINITY]), (4, &[20.0, f64::INFINITY]), (9, &[30.0])]);
        assert_eq!(path(&ladders, 4), [[0, 0, 0], [0, 1, 0]]);
        assert_eq!(path(&ladders, 13), [[0, 0, 0], [1, 0, 0]]);
        assert_eq!(path(&ladders, 14), [[0, 0, 0], [1, 0, 0], [1, 1, 0]]);
        assert_eq!(path(&ladders, 0), [[0, 0, 0]]);
    }

    /// Two layers share weights: these count once, and once one layer has left them float, the other may, too.
    #[test]
    fn weights_of_tied_layers_count_once() {
        let mut ladders = ladders([
            (10, &[10.0, f64::INFINITY]),
            (10, &[20.0, f64::INFINITY]),
            (9, &[30.0, f64::INFINITY]),
        ]);
        ladders[1].first = 0;
        assert_eq!(weights(&ladders), 19);
        assert_eq!(path(&ladders, 10), [[0, 0, 0], [1, 0, 0], [1, 1, 0]]);
        assert_eq!(path(&ladders, 9), [[0, 0, 0], [0, 0, 1]]);
        assert_eq!([[1, 0, 0], [0, 1, 0], [1, 1, 0]].map(|choice| float_weights(&ladders, &choice)), [10; 3]);
    }
}
