//! Names of lines: the rows of one queue that belong to one share and have one priority wait in one line.
//!
//! On disk a row has the name of its line where older releases wrote that of its queue: `queue`, or `queue NUL share NUL priority`. Names of queues have no
//! NUL in them.

use std::sync::Arc;

use crate::store::QueueName;

/// Name of a line.
pub(super) type LineName = Arc<str>;

/// Returns the name of the line of a queue's rows that belong to `share`.
pub(super) fn name(queue: &QueueName, share: &str, priority: i8) -> LineName {
    if share.is_empty() && priority == 0 { Arc::clone(queue) } else { format!("{queue}\0{share}\0{priority}").into() }
}

/// Takes a name apart: queue, share, priority.
pub(super) fn split(name: &str) -> (&str, &str, i8) {
    let parts = name.split_once('\0').and_then(|(queue, rest)| Some((queue, rest.rsplit_once('\0')?)));
    parts.map_or((name, "", 0), |(queue, (share, priority))| (queue, share, priority.parse().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_are_made_of() {
        for (queue, share, priority) in
            [("direct/a.example", "", 0), ("q", "login", 0), ("q", "", -4), ("q", "a b", 9), ("q", "odd\0name", 1)]
        {
            assert_eq!(split(&name(&queue.into(), share, priority)), (queue, share, priority));
        }
        assert_eq!(&*name(&"direct/a.example".into(), "", 0), "direct/a.example");
    }
}
