//! What plugins said of a message's forward-paths, as far as it is worth keeping.

use crate::event::PluginRun;

/// Calls that are kept one by one; of the others, and of those that accepted and had nothing to say, only the number is.
const RUNS: usize = 20;
/// Lines that plugins logged in them, all together.
const LINES: usize = 100;

/// Words for what came of a call, and how people are told of several of them.
const OUTCOMES: [(&str, &str); 5] =
    [("accept", "accepted"), ("rewrite", "rewritten"), ("reject", "rejected"), ("defer", "deferred"), ("failed", "failed")];

/// Forward-paths that plugins were asked about, and what they said.
#[derive(Clone, Debug, Default)]
pub struct CheckedPaths {
    runs: Vec<PluginRun>,
    lines: usize,
    counted: Vec<Counted>,
}

/// Calls of one plugin that are not kept.
#[derive(Clone, Debug)]
struct Counted {
    /// All that is told of them but the outcome.
    sum: PluginRun,
    outcomes: [u32; OUTCOMES.len()],
}

impl CheckedPaths {
    /// Takes in one call.
    pub fn record(&mut self, mut run: PluginRun) {
        let is_plain = run.outcome == "accept" && run.log.is_empty();
        if is_plain || self.runs.len() >= RUNS {
            return self.count(&run);
        }
        let dropped = run.log.len().saturating_sub(LINES - self.lines);
        if dropped > 0 {
            run.log.truncate(run.log.len() - dropped);
            self.lines += run.log.len();
            run.log.push(format!("{dropped} more lines were dropped"));
        } else {
            self.lines += run.log.len();
        }
        self.runs.push(run);
    }

    fn count(&mut self, run: &PluginRun) {
        let place = OUTCOMES.iter().position(|(word, _)| *word == run.outcome);
        let known = self.counted.iter().position(|counted| counted.sum.plugin == run.plugin);
        let index = known.unwrap_or_else(|| {
            let sum = PluginRun { text: String::new(), log: Vec::new(), micros: 0, memory: 0, ..run.clone() };
            self.counted.push(Counted { sum, outcomes: [0; OUTCOMES.len()] });
            self.counted.len() - 1
        });
        let Some(counted) = self.counted.get_mut(index) else { return };
        counted.sum.micros = counted.sum.micros.saturating_add(run.micros);
        counted.sum.memory = counted.sum.memory.max(run.memory);
        if let Some(count) = place.and_then(|place| counted.outcomes.get_mut(place)) {
            *count = count.saturating_add(1);
        }
    }

    /// Returns the first failure of each plugin: which, and what went wrong.
    pub fn failures(&self) -> Vec<(String, String)> {
        let mut failures: Vec<(String, String)> = Vec::new();
        for run in self.runs.iter().filter(|run| run.outcome == "failed") {
            if !failures.iter().any(|(plugin, _)| *plugin == run.plugin) {
                failures.push((run.plugin.clone(), run.text.clone()));
            }
        }
        failures
    }

    /// Returns the calls for the message's trace: those that are kept, then one for each plugin that says how many others there were.
    pub fn into_runs(self) -> Vec<PluginRun> {
        let mut runs = self.runs;
        runs.extend(self.counted.into_iter().map(|Counted { sum, outcomes }| {
            let counts = OUTCOMES.iter().zip(outcomes).filter(|(_, count)| *count > 0);
            let words: Vec<String> = counts.map(|((_, word), count)| format!("{count} {word}")).collect();
            PluginRun { outcome: "checked".to_owned(), text: words.join(", "), ..sum }
        }));
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(plugin: &str, outcome: &str, lines: usize) -> PluginRun {
        let log = vec!["info: x".to_owned(); lines];
        PluginRun { plugin: plugin.to_owned(), outcome: outcome.to_owned(), micros: 2, memory: 7, log, ..PluginRun::default() }
    }

    #[test]
    fn what_is_plain_is_counted_and_what_is_not_has_a_bound() {
        let mut checked = CheckedPaths::default();
        for _ in 0..1_000 {
            checked.record(run("list", "accept", 0));
        }
        for _ in 0..30 {
            checked.record(run("list", "reject", 30));
        }
        checked.record(run("other", "failed", 0));
        assert!(checked.failures().is_empty(), "it is beyond the bound");
        let runs = checked.into_runs();
        assert_eq!(runs.len(), RUNS + 2);
        assert!(runs.iter().map(|run| run.log.len()).sum::<usize>() <= LINES + RUNS);
        let told: Vec<_> =
            runs.iter().skip(RUNS).map(|run| (run.plugin.as_str(), run.outcome.as_str(), run.text.as_str(), run.micros)).collect();
        assert_eq!(told, [("list", "checked", "1000 accepted, 10 rejected", 2_020), ("other", "checked", "1 failed", 2)]);
    }

    #[test]
    fn each_plugin_fails_once() {
        let mut checked = CheckedPaths::default();
        for plugin in ["one", "one", "two"] {
            checked.record(run(plugin, "failed", 0));
        }
        let failed: Vec<_> = checked.failures().into_iter().map(|(plugin, _)| plugin).collect();
        assert_eq!(failed, ["one", "two"]);
    }
}
