//! Work on several threads; results are in the order of the work.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Result;

/// Runs `task` for every number below `count` on `threads` threads that end with the call.
///
/// # Errors
///
/// The first error in the order of the numbers.
pub fn map<T: Send>(
    count: usize,
    threads: usize,
    task: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let threads = threads.clamp(1, count.max(1));
    if threads == 1 {
        return (0..count).map(task).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return done;
            }
            let outcome = task(number);
            let failed = outcome.is_err();
            done.push((number, outcome));
            if failed {
                next.store(count, Ordering::Relaxed);
            }
        }
    };
    let mut all: Vec<(usize, Result<T>)> = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for helper in helpers {
            all.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_unstable_by_key(|outcome| outcome.0);
    all.into_iter().map(|outcome| outcome.1).collect()
}

/// Runs `task` for every part, with its number, on `threads` threads that end with the call.
///
/// # Errors
///
/// The first error in the order of the parts.
pub fn map_parts<P: Send, T: Send>(
    parts: impl IntoIterator<Item = P>,
    threads: usize,
    task: impl Fn(usize, P) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let parts: Vec<Mutex<Option<P>>> =
        parts.into_iter().map(|part| Mutex::new(Some(part))).collect();
    let done = map(parts.len(), threads, |number| {
        let part = lock(&parts[number]).take();
        part.map(|part| task(number, part)).transpose()
    })?;
    Ok(done.into_iter().flatten().collect())
}

/// Locks `mutex`, also after a thread panicked while it held the lock: the data behind our locks is
/// never left half-changed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn the_results_are_in_order_and_a_failure_is_returned() {
        for threads in [1, 3, 50] {
            let squares = map(20, threads, |number| Ok(number * number)).expect("squares");
            assert_eq!(squares, (0..20).map(|number| number * number).collect::<Vec<_>>());
            let failed =
                map(20, threads, |number| if number == 7 { Err(Error::Cancelled) } else { Ok(()) });
            assert!(matches!(failed, Err(Error::Cancelled)));
        }
        assert!(map(0, 2, |_| Ok(())).expect("nothing").is_empty());
    }

    #[test]
    fn every_part_is_worked_on_once() {
        for threads in [1, 3] {
            let mut all = vec![0; 1000];
            map_parts(all.chunks_mut(7), threads, |number, part| {
                for value in part {
                    *value += number;
                }
                Ok(())
            })
            .expect("done");
            assert!(all.iter().enumerate().all(|(place, &value)| value == place / 7));
        }
    }
}
