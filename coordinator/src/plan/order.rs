//! What runs first: long shards, so that the end of a sweep is not one worker's long tail; equal ones in table order.

/// Indices of these costs, dearest first.
pub fn longest_first(costs: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_by(|a, b| costs[*b].total_cmp(&costs[*a]));
    order
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_longest_runs_first_and_equals_keep_their_order() {
        assert_eq!(super::longest_first(&[1.0, 5.0, 1.0, 7.0]), [3, 1, 0, 2]);
    }
}
