//! The sentences that the models are compared on.

use serde::Deserialize;

use crate::encoder::cosine;

/// The number of passages that were written for each query. The order of the others says nothing: none of them is an answer.
pub const RELEVANT: usize = 3;

#[derive(Deserialize)]
pub struct Texts {
    pub queries: Vec<String>,
    pub passages: Vec<String>,
}

impl Texts {
    pub fn load() -> Result<Self, serde_json::Error> {
        serde_json::from_str(include_str!("sentences.json"))
    }

    /// Queries first.
    pub fn all(&self) -> Vec<String> {
        [self.queries.as_slice(), &self.passages].concat()
    }

    /// The passages for each query, the nearest first. The embeddings are those of `all`.
    pub fn ranking(&self, embeddings: &[Vec<f32>]) -> Vec<Vec<usize>> {
        let (queries, passages) = embeddings.split_at(self.queries.len());
        let rank = |query: &Vec<f32>| {
            let mut order: Vec<_> = (0..passages.len()).collect();
            order.sort_by(|&a, &b| cosine(query, &passages[b]).total_cmp(&cosine(query, &passages[a])));
            order
        };
        queries.iter().map(rank).collect()
    }

    pub fn agreement(&self, a: &[Vec<f32>], b: &[Vec<f32>]) -> Agreement {
        let mut agreement = Agreement { answers: 0, pairs: [0; 2] };
        for (a, b) in self.ranking(a).iter().zip(&self.ranking(b)) {
            agreement.answers += usize::from(a[..RELEVANT] == b[..RELEVANT]);
            let place = |passage| b.iter().position(|other| other == passage);
            for (at, nearer) in a.iter().enumerate() {
                let farther = &a[at + 1..];
                agreement.pairs[0] += farther.iter().filter(|other| place(nearer) < place(other)).count();
                agreement.pairs[1] += farther.len();
            }
        }
        agreement
    }
}

/// The agreement of two models in how they rank the passages.
pub struct Agreement {
    /// Queries whose `RELEVANT` nearest passages are the same, in the same order.
    pub answers: usize,
    /// Pairs of passages, over all queries, that both have in the same order; of so many.
    pub pairs: [usize; 2],
}
