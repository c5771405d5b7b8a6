//! The slot of a cache that a token lies in, and the queries that see it. This file only counts: the tensors are in `cache`.

/// Slots are added so many at a time, and at least a quarter more than are needed.
const STEP: usize = 64;

/// The slots of the layers of one kind. Token `p` lies in slot `p % window`: a ring, as soon as the window is full.
#[derive(Clone, Debug)]
pub struct Slots {
    /// A token is seen by itself and so many less one that come after it. A global layer's is as long as the context.
    window: usize,
    /// The slots that there are by now.
    capacity: usize,
}

/// The slots of a kind of layers in one call of the model.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The slots that there must be.
    pub capacity: usize,
    /// The places of the new tokens.
    pub writes: Vec<Write>,
    /// True if the queries see what was there before, if anything was, and behind it the new tokens. Otherwise they
    /// see the slots as they are once the new tokens are written.
    pub joined: bool,
    /// The position of each token that the queries have before them; none where a slot is empty.
    keys: Vec<Option<usize>>,
    start: usize,
    tokens: usize,
    window: usize,
}

/// `count` new tokens, from the one numbered `from`, go into slots from `slot` on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Write {
    pub from: usize,
    pub slot: usize,
    pub count: usize,
}

impl Slots {
    pub fn new(window: usize) -> Self {
        Self { window, capacity: 0 }
    }

    /// The plan for `tokens` new tokens behind `start` that are there.
    pub fn plan(&mut self, start: usize, tokens: usize) -> Plan {
        let (window, before, end) = (self.window, self.capacity, start + tokens);
        if end.min(window) > before {
            self.capacity = (end + end / 4).next_multiple_of(STEP).min(window);
        }
        // A single token may overwrite one: that is just out of its window. More would overwrite what the first of them
        // still see. An empty cache has nothing to show.
        let joined = start == 0 || (tokens > 1 && end > window);
        let keys = if joined {
            self.contents(start, before).chain((start..end).map(Some)).collect()
        } else {
            self.contents(end, self.capacity).collect()
        };
        Plan {
            capacity: self.capacity,
            writes: self.writes(start, tokens),
            joined,
            keys,
            start,
            tokens,
            window,
        }
    }

    /// The position of the token in each slot once there are `length` tokens.
    fn contents(&self, length: usize, capacity: usize) -> impl Iterator<Item = Option<usize>> {
        let window = self.window;
        let latest = move |slot: usize| slot + (length - 1 - slot) / window * window;
        (0..capacity).map(move |slot| (slot < length).then(|| latest(slot)))
    }

    /// The last of the new tokens, as many as the window has; in two parts where they go round the end of the ring.
    fn writes(&self, start: usize, tokens: usize) -> Vec<Write> {
        let count = tokens.min(self.window);
        let from = tokens - count;
        let slot = (start + from) % self.window;
        let first = count.min(self.window - slot);
        let parts =
            [Write { from, slot, count: first }, Write { from: from + first, slot: 0, count: count - first }];
        parts.into_iter().filter(|write| write.count > 0).collect()
    }
}

impl Plan {
    /// The number of tokens, or empty slots, that each query has before it.
    pub fn width(&self) -> usize {
        self.keys.len()
    }

    /// True where a query, row by row, sees one of them; none if each sees all, as it does when one token comes at a time
    /// and all slots are filled.
    pub fn visible(&self) -> Option<Vec<bool>> {
        let sees = |query: usize, key: usize| key <= query && query - key < self.window;
        let row = |query| self.keys.iter().map(move |key| key.is_some_and(|key| sees(query, key)));
        let all: Vec<bool> = (self.start..self.start + self.tokens).flat_map(row).collect();
        all.contains(&false).then_some(all)
    }
}
