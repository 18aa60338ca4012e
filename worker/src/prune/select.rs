//! Scores → kept weights, ties to the lowest column: bit-identical to a stable ascending sort whose first so many go. On CPU
//! by partial selection in Rust, on other devices by a stable sort there. Shapes: O = output features, I = input features.
//!
//! Scores are f32 and not negative: their bits order as they do. NaN goes last, as in a sort.

use tch::{Device, Kind, Tensor};

/// Columns of a group up to which ranks are counted instead of sorted.
const COUNTED: usize = 16;

/// In each row the `int(I · ratio)` lowest go. `[O, I]` f32 → bool `[O, I]`, true = kept.
pub fn rows(score_oi: &Tensor, ratio: f64) -> Tensor {
    let columns = score_oi.size()[1] as usize;
    // The product in f64, cut off, as in the published code: int(100 · 0.29) = 28.
    let count = (columns as f64 * ratio) as usize;
    if score_oi.device() != Device::Cpu {
        return lowest_by_sort(score_oi, count as i64);
    }
    on_cpu(score_oi, |row, kept, room| prune_lowest(row, count, kept, room))
}

/// In each group of `of` consecutive columns the `prune` lowest go. `[O, I]` f32 → bool `[O, I]`, true = kept.
pub fn groups(score_oi: &Tensor, prune: u32, of: u32) -> Result<Tensor, String> {
    let (shape, of) = (score_oi.size(), of as usize);
    let columns = shape[1] as usize;
    if of == 0 || prune as usize > of || !columns.is_multiple_of(of) {
        return Err(format!("its {columns} input columns are not a multiple of {of}"));
    }
    if score_oi.device() != Device::Cpu {
        let grouped = score_oi.reshape([-1, of as i64]);
        return Ok(lowest_by_sort(&grouped, i64::from(prune)).view([shape[0], shape[1]]));
    }
    let prune = prune as usize;
    Ok(on_cpu(score_oi, |row, kept, room| {
        for (group, kept) in row.chunks_exact(of).zip(kept.chunks_exact_mut(of)) {
            match of <= COUNTED {
                true => prune_by_rank(group, prune, kept),
                false => prune_lowest(group, prune, kept, room),
            }
        }
    }))
}

/// The value at `index` of all scores in ascending order, counted from 0; a tensor without dimensions.
///
/// # Panics
/// If there are not so many scores: a bug in the caller.
pub fn kth_smallest(score_oi: &Tensor, index: usize) -> Tensor {
    if score_oi.device() != Device::Cpu {
        return score_oi.flatten(0, -1).kthvalue(index as i64 + 1, 0, false).0;
    }
    let flat = score_oi.contiguous();
    let mut keys: Vec<u32> = scores(&flat).iter().map(|&x| key(x)).collect();
    let (_, value, _) = keys.select_nth_unstable(index);
    Tensor::from(f32::from_bits(*value))
}

fn lowest_by_sort(score_oi: &Tensor, count: i64) -> Tensor {
    let (_, order_oi) = score_oi.sort_stable(true, -1, false);
    let kept_oi = Tensor::ones(score_oi.size(), (Kind::Bool, score_oi.device()));
    kept_oi.scatter_value(-1, &order_oi.narrow(-1, 0, count), 0)
}

/// The order of non-negative floats as the order of integers; minus zero is zero.
fn key(x: f32) -> u32 {
    x.to_bits() & 0x7fff_ffff
}

/// Applies `choose` to each row, rows shared out among the pinned threads: a row's result depends on that row alone.
/// `choose` is given scores, places for 1 = kept that hold 1, and room of its own.
fn on_cpu(score_oi: &Tensor, choose: impl Fn(&[f32], &mut [u8], &mut Vec<u32>) + Sync) -> Tensor {
    let contiguous = score_oi.contiguous();
    let (shape, columns) = (score_oi.size(), score_oi.size()[1] as usize);
    let all = scores(&contiguous);
    let mut kept = vec![1u8; all.len()];
    let threads = tch::get_num_threads().max(1) as usize;
    let share = all.len().div_ceil(columns.max(1)).div_ceil(threads).max(1) * columns.max(1);
    std::thread::scope(|scope| {
        for (scores, kept) in all.chunks(share).zip(kept.chunks_mut(share)) {
            scope.spawn(|| {
                let mut room = Vec::with_capacity(columns);
                for (row, kept) in scores.chunks_exact(columns).zip(kept.chunks_exact_mut(columns)) {
                    choose(row, kept, &mut room);
                }
            });
        }
    });
    Tensor::from_data_size(&kept, &shape, Kind::Bool)
}

/// The scores of a contiguous f32 tensor on CPU, in place.
fn scores(contiguous: &Tensor) -> &[f32] {
    assert_eq!(
        (contiguous.kind(), contiguous.device()),
        (Kind::Float, Device::Cpu),
        "scores are f32 on CPU here"
    );
    // SAFETY: the tensor is contiguous, holds `numel` f32 and outlives the slice, which borrows it; nothing writes to it.
    unsafe { std::slice::from_raw_parts(contiguous.data_ptr().cast::<f32>(), contiguous.numel()) }
}

/// Marks the `count` lowest of a row.
fn prune_lowest(row: &[f32], count: usize, kept: &mut [u8], room: &mut Vec<u32>) {
    if count == 0 {
        return;
    }
    room.clear();
    room.extend(row.iter().map(|&x| key(x)));
    let (_, &mut threshold, _) = room.select_nth_unstable(count - 1);
    let below = row.iter().filter(|&&x| key(x) < threshold).count();
    // Of the scores equal to the threshold only so many go, the lowest columns first.
    let mut equals = count - below;
    for (kept, &x) in kept.iter_mut().zip(row) {
        let key = key(x);
        if key < threshold || (key == threshold && equals > 0) {
            equals -= usize::from(key == threshold);
            *kept = 0;
        }
    }
}

/// Marks the `prune` lowest of a small group by counting how many come before each.
fn prune_by_rank(group: &[f32], prune: usize, kept: &mut [u8]) {
    for (i, kept) in kept.iter_mut().enumerate() {
        let own = key(group[i]);
        let before = |(j, &x): (usize, &f32)| key(x) < own || (key(x) == own && j < i);
        let rank = group.iter().enumerate().filter(|&other| before(other)).count();
        *kept = u8::from(rank >= prune);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers with many ties, zeros and minus zeros.
    fn awkward(rows: i64, columns: i64) -> Tensor {
        let number = |i: i64| match (i * 2_654_435_761 >> 7) % 11 {
            0 => -0.0,
            n => (n - 1) as f32 * 0.25,
        };
        Tensor::from_slice(&(0..rows * columns).map(number).collect::<Vec<_>>()).view([rows, columns]).abs()
    }

    /// Oracle: libtorch's stable sort, as the published code uses it.
    #[test]
    fn rows_are_bit_identical_to_the_stable_sort() {
        for (rows_, columns) in [(1, 1), (3, 7), (17, 33), (5, 100)] {
            let score = awkward(rows_, columns);
            for ratio in [0.01, 0.2, 0.29, 0.5, 0.8, 0.99] {
                let count = (columns as f64 * ratio) as i64;
                assert!(
                    rows(&score, ratio).equal(&lowest_by_sort(&score, count)),
                    "{columns} columns, {ratio}"
                );
            }
        }
    }

    #[test]
    fn groups_are_bit_identical_to_the_stable_sort() {
        let score = awkward(6, 64);
        for (prune, of) in [(1u32, 2u32), (2, 4), (1, 4), (4, 8), (5, 32), (20, 32)] {
            let grouped = score.reshape([-1, i64::from(of)]);
            let expected = lowest_by_sort(&grouped, i64::from(prune)).view([6, 64]);
            assert!(groups(&score, prune, of).unwrap().equal(&expected), "{prune} of {of}");
        }
    }

    #[test]
    fn a_width_that_groups_do_not_divide_is_refused() {
        assert!(groups(&awkward(2, 7), 2, 4).unwrap_err().contains("7 input columns"));
    }

    #[test]
    fn the_kth_smallest_is_that_of_a_sort() {
        let score = awkward(9, 13);
        let sorted: Vec<f32> = Vec::try_from(&score.flatten(0, -1).sort(0, false).0).unwrap();
        for index in [0, 1, 58, 116] {
            assert_eq!(kth_smallest(&score, index).double_value(&[]) as f32, sorted[index]);
        }
    }
}
