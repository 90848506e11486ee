//! The plugins: which version of each runs, in which chains, how it does, and what came of loading it again.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};

use super::Services;
use super::page::{Size, Text, Time, Took, page};
use crate::chain::registry::Reload;
use crate::config::{Chain, ChainStep, Shadow, When};
use crate::plugin::{Plugin, Stage};
use crate::telemetry::metric::{PluginOutcome, PluginUsage};

/// Chains that are named for one plugin.
const MOST_CHAINS: usize = 50;

/// `GET /dashboard/plugins`.
pub(super) async fn show(State(services): State<Arc<Services>>) -> Response {
    let registry = services.archive.intake().chains();
    let chains = registry.current();
    let shown: Vec<Shown<'_>> = chains
        .plugins()
        .values()
        .map(|plugin| Shown {
            plugin: facts(plugin, &services),
            usage: plugin.metrics().usage(),
            reload: registry.reload_of(plugin.name()),
            name: plugin.name(),
        })
        .collect();
    let html: Html<String> = page("Plugins", "", &content(&shown));
    html.into_response()
}

/// What is shown of one plugin.
struct Shown<'a> {
    name: &'a str,
    plugin: Facts,
    usage: Vec<(Arc<str>, PluginUsage)>,
    reload: Option<Reload>,
}

#[derive(Default)]
struct Facts {
    version: String,
    summary: String,
    digest: String,
    signer: String,
    stages: String,
    chains: Vec<String>,
}

fn facts(plugin: &Plugin, services: &Services) -> Facts {
    let stages =
        [Stage::Rcpt, Stage::Submit, Stage::Recipient, Stage::Event].into_iter().filter(|stage| plugin.has(*stage)).map(Stage::word);
    Facts {
        version: plugin.manifest().version.clone(),
        summary: plugin.manifest().summary.clone(),
        digest: plugin.digest().to_string(),
        signer: plugin.signer().map(ToString::to_string).unwrap_or_default(),
        stages: stages.collect::<Vec<_>>().join(", "),
        chains: services.chains.iter().filter_map(|(name, chain)| in_chain(name, chain, plugin.name())).take(MOST_CHAINS).collect(),
    }
}

/// Names a chain that a plugin is in, and how it is in it.
fn in_chain(name: &str, chain: &Chain, plugin: &str) -> Option<String> {
    let step = chain.steps.iter().find(|step| *step.plugin == *plugin)?;
    let ChainStep { when, share, shadow, .. } = step;
    let mut how = Vec::new();
    if *when == When::Requested {
        how.push("on request".to_owned());
    }
    if let Some(share) = share {
        how.push(format!("{} %", f64::from(share.0) / 10_000.0));
    }
    match shadow {
        Some(Shadow::Nothing) => how.push("shadow".to_owned()),
        Some(Shadow::Of(original)) => how.push(format!("shadow of {original}")),
        None => {}
    }
    Some(if how.is_empty() { name.to_owned() } else { format!("{name} ({})", how.join(", ")) })
}

fn content(plugins: &[Shown<'_>]) -> String {
    let mut html = String::from(
        "<h1>Plugins</h1><p>Counted since the server was started. Times are of the plugin alone, about; ninety-nine calls of a hundred had no more memory than that.</p>",
    );
    if plugins.is_empty() {
        html.push_str("<p class=\"empty\">No chain has a plugin.</p>");
    }
    for shown in plugins {
        one(&mut html, shown);
    }
    html
}

fn one(html: &mut String, Shown { name, plugin, usage, reload }: &Shown<'_>) {
    let state = match reload {
        Some(Reload { result: Err(_), .. }) => " <span class=\"badge rejected\">new version does not load</span>",
        Some(Reload { result: Ok(()), .. }) => " <span class=\"badge delivered\">reloaded</span>",
        None => "",
    };
    write!(html, "<section class=\"plugin\"><h2>{} <small>{}</small>{state}</h2>", Text(name), Text(&plugin.version)).ok();
    if !plugin.summary.is_empty() {
        write!(html, "<p class=\"summary\">{}</p>", Text(&plugin.summary)).ok();
    }
    if let Some(Reload { at, result }) = reload {
        match result {
            Ok(()) => write!(html, "<p class=\"changed\">Loaded again {}</p>", Time(*at)).ok(),
            Err(failure) => write!(html, "<p class=\"reason\">{}: {} The version from before goes on.</p>", Time(*at), Text(failure)).ok(),
        };
    }
    let chains = if plugin.chains.is_empty() { "in no chain".to_owned() } else { plugin.chains.join(", ") };
    html.push_str("<dl class=\"inline\">");
    for (term, value) in [("SHA-256", &plugin.digest), ("Signed by", &plugin.signer), ("Stages", &plugin.stages), ("Chains", &chains)] {
        if !value.is_empty() {
            write!(html, "<div><dt>{term}</dt><dd>{}</dd></div>", Text(value)).ok();
        }
    }
    html.push_str("</dl>");
    if usage.is_empty() {
        html.push_str("<p class=\"empty\">No calls yet.</p></section>");
        return;
    }
    numbers(html, usage);
    html.push_str("</section>");
}

fn numbers(html: &mut String, usage: &[(Arc<str>, PluginUsage)]) {
    let has_shares = usage.iter().any(|(_, usage)| usage.shares != [0, 0]);
    let has_shadows = usage.iter().any(|(_, usage)| !usage.shadows.is_empty());
    html.push_str("<table class=\"numbers\"><thead><tr><th>Login</th><th>Calls</th><th>Failures</th><th>Refusals</th><th>Half within</th><th>99 % within</th><th>Memory</th>");
    if has_shares {
        html.push_str("<th>In its part</th>");
    }
    if has_shadows {
        html.push_str("<th>As a shadow</th>");
    }
    html.push_str("</tr></thead><tbody>");
    for (login, usage) in usage {
        let calls: u64 = usage.calls.iter().map(|(_, count)| count).sum();
        let of =
            |fits: fn(PluginOutcome) -> bool| usage.calls.iter().filter(|(outcome, _)| fits(*outcome)).map(|(_, count)| count).sum::<u64>();
        let failures = of(is_failure);
        let class = if failures > 0 { " class=\"bad\"" } else { "" };
        let took = |micros: Option<u64>| micros.map(|micros| Took(micros).to_string()).unwrap_or_default();
        let memory = usage.memory.map(|octets| Size(octets).to_string()).unwrap_or_default();
        write!(
            html,
            "<tr><td>{}</td><td>{calls}</td><td{class}>{failures}</td><td>{}</td><td>{}</td><td>{}</td><td>{memory}</td>",
            Text(login),
            of(is_refusal),
            took(usage.median),
            took(usage.slowest),
        )
        .ok();
        if has_shares {
            let [out, in_part] = usage.shares;
            write!(html, "<td>{in_part} of {}</td>", in_part + out).ok();
        }
        if has_shadows {
            let results: Vec<String> = usage.shadows.iter().map(|(result, count)| format!("{count} {}", result.word())).collect();
            write!(html, "<td>{}</td>", results.join(", ")).ok();
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table>");
}

fn is_failure(outcome: PluginOutcome) -> bool {
    match outcome {
        PluginOutcome::Failed
        | PluginOutcome::Trapped
        | PluginOutcome::OutOfTime
        | PluginOutcome::OutOfMemory
        | PluginOutcome::BadAnswer
        | PluginOutcome::OutputTooLarge => true,
        PluginOutcome::Continued
        | PluginOutcome::NotWanted
        | PluginOutcome::Rejected
        | PluginOutcome::Deferred
        | PluginOutcome::Discarded
        | PluginOutcome::Held => false,
    }
}

fn is_refusal(outcome: PluginOutcome) -> bool {
    matches!(outcome, PluginOutcome::Rejected | PluginOutcome::Deferred | PluginOutcome::Discarded | PluginOutcome::Held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::config::Share;
    use crate::telemetry::metric::ShadowResult;

    #[test]
    fn a_plugin_with_everything() {
        let usage = PluginUsage {
            calls: vec![(PluginOutcome::Continued, 40), (PluginOutcome::Trapped, 2), (PluginOutcome::Rejected, 1)],
            median: Some(40),
            slowest: Some(1_200),
            memory: Some(1 << 20),
            shadows: vec![(ShadowResult::Same, 7), (ShadowResult::Different, 1)],
            shares: [95, 5],
        };
        let plugin = Facts {
            version: "1.2.0".into(),
            summary: "Greets <all>".into(),
            digest: "0123456789ab".into(),
            signer: "ann".into(),
            stages: "submit".into(),
            chains: vec!["news (5 %)".into()],
        };
        let reload = Reload { at: Timestamp::from_millis(1_533_081_600_000), result: Err("it is <broken>.".into()) };
        let html = content(&[
            Shown { name: "greet", plugin, usage: vec![("news".into(), usage)], reload: Some(reload) },
            Shown { name: "idle", plugin: Facts::default(), usage: Vec::new(), reload: None },
        ]);
        insta::assert_snapshot!(html.replace("><", ">\n<"));
    }

    #[test]
    fn how_it_is_in_a_chain() {
        let step = |share, shadow, when| ChainStep {
            plugin: "greet".into(),
            when,
            locked: false,
            share,
            shadow,
            options: serde_json::Map::new(),
            place: String::new(),
        };
        let named = |share, shadow, when| in_chain("news", &Chain { steps: vec![step(share, shadow, when)] }, "greet").unwrap_or_default();
        assert_eq!(named(None, None, When::Always), "news");
        assert_eq!(named(Some(Share(5_000)), None, When::Requested), "news (on request, 0.5 %)");
        assert_eq!(named(None, Some(Shadow::Of("old".into())), When::Always), "news (shadow of old)");
    }
}
