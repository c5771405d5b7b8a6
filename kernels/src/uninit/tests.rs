//! Blocks: what they cover, and what they refuse.

use super::*;

#[test]
fn blocks_cover_a_matrix() {
    let [out] = collect_uninit([7 * 10], |[out]| {
        let mut blocks = out.into_blocks(10, [3, 4]);
        for mut block in blocks.by_ref() {
            let (rows, columns) = (block.rows(), block.columns());
            for row in 0..rows {
                let first = (block.first_row + row) * 10 + block.first_column;
                block.append(row, 0..1, |out| init_map(out, &[first], |x| x));
                let rest: Vec<_> = (first + 1..first + columns).collect();
                block.append_copy::<64>(row, 1..columns, &rest);
            }
        }
        assert!(blocks.next().is_none(), "threads ask once more each");
    });
    assert_eq!(out, (0..70).collect::<Vec<_>>());
}

#[test]
#[should_panic(expected = "every output is written")]
fn an_element_that_is_not_written_is_no_output() {
    collect_uninit([4], |[out]| out.into_block(2).append_copy::<2>(0, 0..2, &[1, 2]));
}

#[test]
#[should_panic(expected = "from left to right")]
fn an_element_that_is_written_twice_does_not_count_for_another() {
    collect_uninit([4], |[out]| {
        let mut block = out.into_block(4);
        block.append_copy::<2>(0, 0..2, &[1, 2]);
        block.append_copy::<2>(0, 0..2, &[1, 2]);
    });
}

#[test]
#[should_panic(expected = "a writer fills what it gets")]
fn a_writer_that_returns_other_memory_is_found_out() {
    collect_uninit([2], |[out]| out.into_block(2).append(0, 0..2, |_| Vec::leak(vec![1, 2])));
}

#[test]
#[should_panic(expected = "a writer fills what it gets")]
fn a_writer_that_returns_less_is_found_out() {
    collect_uninit([2], |[out]| {
        out.into_block(2).append(0, 0..2, |out| init_copy::<_, 2>(&mut out[..1], &[1]));
    });
}

#[test]
fn elements_in_any_order_are_written_over_a_value() {
    let [out] = collect_uninit([6], |[out]| {
        let mut block = out.into_block(3);
        block.fill(|_| 0);
        block.overwrite(0, 0, 2, [1, 2].into_iter());
        block.overwrite(1, 1, 2, [3].into_iter());
    });
    assert_eq!(out, [1, 0, 2, 0, 3, 0]);
}
