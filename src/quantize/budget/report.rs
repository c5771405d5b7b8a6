//! The choices that a search for the least sacrifice has tried: plain data, and a table of them.

use std::collections::HashMap;
use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::Bound;
use super::measure::Measured;
use crate::config::{Int8Config, LayerScheme};
use crate::outcome::LayerInfo;
use crate::quantize::report::Report;
use crate::quantize::sensitivity::Sensitivity;
use crate::table;

/// The outcome of [`Quantize::quantize_within`](crate::Quantize::quantize_within). `Display` prints both tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BudgetReport {
    /// Each layer with what was done to it.
    pub report: Report,
    /// The way there.
    pub search: BudgetSearch,
}

/// The choices that were tried to keep a budget. `Display` prints a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BudgetSearch {
    /// The bound of the budget.
    pub bound: Bound,
    /// The choices, in the order in which they were tried.
    pub attempts: Vec<Attempt>,
    /// The index of the best of them: of those within the bound the least sacrifice that was found, or else the nearest to it.
    pub best: usize,
    /// False if the search has ended because the evaluations were used up.
    pub is_complete: bool,
    /// The error of each layer alone, by which the search has gone.
    pub sensitivity: Sensitivity,
}

/// A choice that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attempt {
    /// The layers that were not quantized as the configuration says.
    pub changes: Vec<LayerChange>,
    /// The share of the weights that were left float, 0 to 1, of those in layers that the configuration names. A weight that tied
    /// layers share counts once.
    #[serde(deserialize_with = "share")]
    pub float_share: f64,
    /// The measurement of the model.
    pub measured: Measured,
    /// True if that is within the bound.
    pub within: bool,
}

/// A layer that is not quantized as the configuration says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LayerChange {
    /// Its path in the model.
    pub path: String,
    /// The scheme that it is quantized with; none if it stays float.
    pub scheme: Option<LayerScheme>,
}

/// Reads a share, and refuses what is none: it would be shown as a percentage.
fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let share = f64::deserialize(deserializer)?;
    if !(0.0..=1.0).contains(&share) {
        return Err(D::Error::custom(format!("a share of float weights is between 0 and 1, not {share}")));
    }
    Ok(share)
}

impl BudgetSearch {
    /// The best choice that was tried; none if the search is not one of this crate's, and has no attempt of that index.
    ///
    /// # Example
    ///
    /// ```
    /// use burn_int8::BudgetSearch;
    ///
    /// let json = r#"{"bound":{"SqnrDb":30.0},"attempts":[],"best":0,"is_complete":true,"sensitivity":{"layers":[]}}"#;
    /// let search: BudgetSearch = serde_json::from_str(json)?;
    /// assert!(search.best().is_none());
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn best(&self) -> Option<&Attempt> {
        self.attempts.get(self.best)
    }
}

impl Attempt {
    /// The rule by which [`quantize_with`](crate::Quantize::quantize_with) makes the model of this attempt, with the same
    /// configuration; but layers that were smoothed by their inputs, which a rule does not see, are not.
    pub fn rule(
        &self,
        config: &Int8Config,
    ) -> impl Fn(&LayerInfo) -> Option<LayerScheme> + Send + Sync + 'static {
        let changes: HashMap<_, _> =
            self.changes.iter().map(|change| (change.path.clone(), change.scheme)).collect();
        let scheme = config.scheme();
        move |layer| changes.get(&layer.path).copied().unwrap_or(Some(scheme))
    }

    /// The changes in words, as many as a person reads.
    pub(super) fn changes_text(&self) -> String {
        const SHOWN: usize = 4;
        let text = |change: &LayerChange| match change.scheme {
            Some(scheme) => format!("{}: {scheme}", table::path(&change.path)),
            None => format!("{}: float", table::path(&change.path)),
        };
        let mut texts: Vec<_> = self.changes.iter().take(SHOWN).map(text).collect();
        match self.changes.len() {
            0 => return "every layer as configured".into(),
            n if n > SHOWN => texts.push(format!("and {} more", n - SHOWN)),
            _ => {}
        }
        texts.join("; ")
    }
}

impl fmt::Display for BudgetSearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["attempt", "float weights", "measured", "budget", "changes"].map(String::from);
        let row = |(index, attempt): (usize, &Attempt)| {
            [
                format!("{}{}", index + 1, if index == self.best { " *" } else { "" }),
                format!("{:.1} %", 100.0 * attempt.float_share),
                attempt.measured.to_string(),
                if attempt.within { "kept" } else { "missed" }.into(),
                attempt.changes_text(),
            ]
        };
        let rows: Vec<_> = [header].into_iter().chain(self.attempts.iter().enumerate().map(row)).collect();
        table::write(f, &rows, &[1])?;
        let end = if self.is_complete { "" } else { "; the evaluations are used up" };
        write!(f, "\nbudget: {}{end}", self.bound)
    }
}

impl fmt::Display for BudgetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n\n{}", self.report, self.search)
    }
}
