//! The ring of a local layer, counted out.

use crate::slots::Slots;

/// Every window up to 6, filled in parts of every pair of lengths up to 8 by turns.
#[test]
fn queries_see_their_windows_and_nothing_else() {
    for window in 1..=6 {
        for (a, b) in (1..=8).flat_map(|a| (1..=8).map(move |b| (a, b))) {
            check(window, &[a, b, a, a, b, 1, 1, b]);
        }
    }
}

/// Windows that are added to in steps.
#[test]
fn slots_that_grow_keep_their_tokens() {
    for window in [63, 64, 65, 200] {
        for part in [1, 2, 63, 64, 65, 199, 200, 201] {
            check(window, &[part, 1, 1, part, part, 1, 150, 150]);
        }
    }
}

fn check(window: usize, parts: &[usize]) {
    let (mut slots, mut ring, mut start) = (Slots::new(window), Vec::new(), 0);
    for &tokens in parts {
        let plan = slots.plan(start, tokens);
        assert!(plan.capacity >= ring.len() && plan.capacity <= window);
        let before = ring.clone();
        ring.resize(plan.capacity, None);
        for write in &plan.writes {
            for at in 0..write.count {
                ring[write.slot + at] = Some(start + write.from + at);
            }
        }
        let new = (start..start + tokens).map(Some);
        let keys: Vec<Option<usize>> =
            if plan.joined { before.into_iter().chain(new).collect() } else { ring.clone() };
        assert_eq!(plan.width(), keys.len());

        let visible = plan.visible().unwrap_or_else(|| vec![true; tokens * keys.len()]);
        for (query, row) in (start..start + tokens).zip(visible.chunks_exact(keys.len())) {
            let mut seen: Vec<usize> =
                keys.iter().zip(row).filter(|(_, visible)| **visible).filter_map(|(key, _)| *key).collect();
            seen.sort_unstable();
            let expected: Vec<usize> = ((query + 1).saturating_sub(window)..=query).collect();
            assert_eq!(seen, expected, "window {window}, {parts:?}, query {query}");
            let empty = keys.iter().zip(row).any(|(key, visible)| key.is_none() && *visible);
            assert!(!empty, "an empty slot is seen: window {window}, {parts:?}");
        }
        start += tokens;
    }
}

#[test]
fn a_full_ring_needs_no_mask() {
    let mut slots = Slots::new(4);
    assert!(slots.plan(0, 4).visible().is_some());
    for start in 4..12 {
        let plan = slots.plan(start, 1);
        assert!(!plan.joined && plan.visible().is_none() && plan.width() == 4);
    }
}
