//! The search along the choices, by evaluations of which each is a run of the user's.

use std::cmp::Reverse;

use super::error::BudgetError;
use super::ladder::{Choice, Ladder};
use super::measure::Measured;

/// A choice, what was measured of it, and whether that is within the budget.
pub(super) struct Trial {
    pub(super) choice: Choice,
    pub(super) measured: Measured,
    pub(super) within: bool,
}

/// A search with what it has tried.
pub(super) struct Search<E> {
    evaluate: E,
    /// The evaluations that are left.
    left: usize,
    pub(super) trials: Vec<Trial>,
}

/// The end of a search: no evaluations are left, or one went wrong.
enum Stop {
    UsedUp,
    Error(BudgetError),
}

impl<E: FnMut(&[usize]) -> Result<(Measured, bool), BudgetError>> Search<E> {
    pub(super) fn new(evaluations: usize, evaluate: E) -> Self {
        Self { evaluate, left: evaluations, trials: Vec::new() }
    }

    /// Looks for the first choice on `path` that is within the budget, by halves, then gives layers back one by one. The answer
    /// is the index of the best trial that is, and whether the search came to its end.
    pub(super) fn run(
        &mut self,
        ladders: &[Ladder],
        path: &[Choice],
    ) -> Result<(Option<usize>, bool), BudgetError> {
        let mut best = None;
        let is_complete = match self.halve(path, &mut best).and_then(|()| self.give_back(ladders, &mut best))
        {
            Ok(()) => true,
            Err(Stop::UsedUp) => false,
            Err(Stop::Error(error)) => return Err(error),
        };
        Ok((best, is_complete))
    }

    /// Tries the ends of the path, then halves what is between a choice over the budget and one within.
    fn halve(&mut self, path: &[Choice], best: &mut Option<usize>) -> Result<(), Stop> {
        let (mut over, mut within) = (0, path.len() - 1);
        if self.is_within(&path[over], best)? || !self.is_within(&path[within], best)? {
            return Ok(());
        }
        while within - over > 1 {
            let middle = (over + within) / 2;
            if self.is_within(&path[middle], best)? { within = middle } else { over = middle }
        }
        Ok(())
    }

    /// Takes each layer down again as far as the budget allows, the largest first, until none can be.
    fn give_back(&mut self, ladders: &[Ladder], best: &mut Option<usize>) -> Result<(), Stop> {
        let Some(mut choice) = best.map(|best| self.trials[best].choice.clone()) else { return Ok(()) };
        let mut largest_first: Vec<_> = (0..ladders.len()).collect();
        largest_first.sort_by_key(|&layer| Reverse(ladders[layer].weights));
        let mut taken_down = true;
        while taken_down {
            taken_down = false;
            for &layer in &largest_first {
                while choice[layer] > 0 {
                    choice[layer] -= 1;
                    if !self.is_within(&choice, best)? {
                        choice[layer] += 1;
                        break;
                    }
                    taken_down = true;
                }
            }
        }
        Ok(())
    }

    /// Says whether a choice is within the budget, and remembers it as the best if so: each that is tried after another that is
    /// within sacrifices less. What was tried is not tried again.
    fn is_within(&mut self, choice: &[usize], best: &mut Option<usize>) -> Result<bool, Stop> {
        if let Some(trial) = self.trials.iter().find(|trial| trial.choice == choice) {
            return Ok(trial.within);
        }
        self.left = self.left.checked_sub(1).ok_or(Stop::UsedUp)?;
        let (measured, within) = (self.evaluate)(choice).map_err(Stop::Error)?;
        if within {
            *best = Some(self.trials.len());
        }
        self.trials.push(Trial { choice: choice.to_vec(), measured, within });
        Ok(within)
    }
}
