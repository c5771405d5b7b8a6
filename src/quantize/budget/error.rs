//! The reasons why a budget is not kept.

use super::report::BudgetSearch;
use crate::error::{Int8Error, QuantizeError};

/// The reason why a model could not be quantized within a budget.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// The model can't be quantized at all, or has seen no inputs.
    #[error(transparent)]
    Int8(#[from] Int8Error),
    /// The budget makes no sense.
    #[error("the budget can't be kept by any model: {reason}")]
    InvalidBudget {
        /// The fault in it.
        reason: String,
    },
    /// The closure returns no values.
    #[error(
        "the closure has returned no values to compare; return the model's outputs for inputs that are not empty"
    )]
    NoOutputs,
    /// The float model's own outputs or loss are not finite.
    #[error(
        "what the float model gives holds a NaN or an infinity, so that nothing can be compared with it; look for one \
         among the inputs"
    )]
    FloatNotFinite,
    /// The closure returns more or fewer values than it did for the float model.
    #[error(
        "the closure has returned {int8} values, and {float} for the float model; run every model on the same inputs, in \
         the same order"
    )]
    OtherOutputs {
        /// The number of values for the float model.
        float: usize,
        /// The number of values for an INT8 model.
        int8: usize,
    },
    /// No choice that was tried keeps the budget.
    #[error("{}", not_met(.0))]
    NotMet(Box<BudgetSearch>),
}

fn not_met(search: &BudgetSearch) -> String {
    let BudgetSearch { bound, attempts, is_complete, .. } = search;
    let remedy = match is_complete {
        true => "widen the bound, or let more weights stay float",
        false => "allow more evaluations, or widen the bound",
    };
    let best =
        search.best().map(|best| format!("; the best has {}, with {}", best.measured, best.changes_text()));
    let (tried, best) = (attempts.len(), best.unwrap_or_default());
    format!("{tried} choices were tried, and none has {bound}{best}; {remedy}")
}

impl<M> From<QuantizeError<M, BudgetError>> for BudgetError {
    fn from(error: QuantizeError<M, BudgetError>) -> Self {
        error.into_parts().0
    }
}
