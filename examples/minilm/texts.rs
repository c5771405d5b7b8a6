//! The sentences that the models are compared on.

use serde::Deserialize;

use crate::encoder::cosine;

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

    /// For each query the passages, the nearest first. The embeddings are those of `all`.
    pub fn ranking(&self, embeddings: &[Vec<f32>]) -> Vec<Vec<usize>> {
        let (queries, passages) = embeddings.split_at(self.queries.len());
        let rank = |query: &Vec<f32>| {
            let mut order: Vec<_> = (0..passages.len()).collect();
            order.sort_by(|&a, &b| cosine(query, &passages[b]).total_cmp(&cosine(query, &passages[a])));
            order
        };
        queries.iter().map(rank).collect()
    }
}
