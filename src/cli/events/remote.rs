//! Events of a node that is asked over HTTP, by its interface for programs.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use awc::http::Method;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use url::Url;

use super::{Answer, EventsCommand, Failure, ListArgs, events_text, fields, history_text, patch_body, shown};
use crate::config::Secret;
use crate::ingest::sending::{Cargo, Outgoing};
use crate::ingest::{HttpClient, Patience};
use crate::model::EventId;

/// A node answers from its database, whose calls have shorter deadlines.
const PATIENCE: Patience =
    Patience { head: Duration::from_secs(30), stall: Duration::from_secs(30), whole: Duration::from_secs(120) };
/// A page of events without their images; or one with a picture of 2 MB in base64.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// As many as a node gives at once.
const PAGE: usize = 500;

/// A node, and the token that it is shown.
pub struct Node {
    url: Url,
    authorization: Option<Secret>,
    http: HttpClient,
}

impl Node {
    /// On the current arbiter.
    pub fn new(url: Url, authorization: Option<Secret>) -> Self {
        Self { url, authorization, http: HttpClient::of_this_arbiter() }
    }

    pub async fn answer(&self, command: &EventsCommand) -> Result<Answer, Failure> {
        let post =
            |id: &EventId, step: &'static str| self.change(Method::POST, vec![id.to_string(), step.into()], None);
        match command {
            EventsCommand::List(args) => self.list(args).await,
            EventsCommand::Show(args) => Ok(shown(self.object(&[args.id.as_str()]).await?)),
            EventsCommand::Add(args) => {
                let mut body = fields(&args.fields)?;
                body.insert("id".into(), args.id.as_str().into());
                self.change(Method::POST, Vec::new(), Some(body)).await
            }
            EventsCommand::Edit(args) => {
                self.change(Method::PATCH, vec![args.fields.id.to_string()], Some(patch_body(args)?)).await
            }
            EventsCommand::Retry(args) => post(&args.id, "retry").await,
            EventsCommand::Cancel(args) => post(&args.id, "cancel").await,
            EventsCommand::Reset(args) => post(&args.id, "reset").await,
            EventsCommand::History(args) => {
                let json = self.ask(Method::GET, &[args.id.as_str(), "history"], &[], None).await?;
                let lines = json.as_array().map(Vec::as_slice).unwrap_or_default();
                Ok(Answer { text: history_text(lines), json })
            }
        }
    }

    async fn list(&self, args: &ListArgs) -> Result<Answer, Failure> {
        let mut asked: Vec<(&str, String)> = args.state.iter().map(|state| ("state", state.to_string())).collect();
        asked.extend(args.from.map(|from| ("from", from.to_string())));
        asked.extend(args.to.map(|to| ("to", to.to_string())));
        asked.extend(args.text.clone().map(|text| ("text", text)));
        let (mut events, mut unreadable, mut after) = (Vec::new(), Vec::new(), None::<String>);
        while events.len() < args.limit {
            let mut query = asked.clone();
            query.push(("limit", (args.limit - events.len()).min(PAGE).to_string()));
            query.extend(after.take().map(|after| ("after", after)));
            let mut page = self.ask(Method::GET, &[], &query, None).await?;
            let list = |value: Value| if let Value::Array(list) = value { list } else { Vec::new() };
            events.extend(list(page["events"].take()));
            unreadable.extend(list(page["unreadable"].take()));
            after = page["next"].as_str().map(str::to_owned);
            if after.is_none() {
                break;
            }
        }
        let unreadable: Vec<(String, String)> = unreadable
            .iter()
            .map(|one| ["id", "why"].map(|name| one[name].as_str().unwrap_or_default().to_owned()).into())
            .collect();
        Ok(Answer { text: events_text(&events, &unreadable, after.is_some()), json: events.into() })
    }

    async fn object(&self, path: &[&str]) -> Result<Map<String, Value>, Failure> {
        whole(self.ask(Method::GET, path, &[], None).await?)
    }

    async fn change(
        &self,
        method: Method,
        path: Vec<String>,
        body: Option<Map<String, Value>>,
    ) -> Result<Answer, Failure> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        Ok(shown(whole(self.ask(method, &path, &[], body).await?)?))
    }

    async fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<Map<String, Value>>,
    ) -> Result<Value, Failure> {
        let node = &self.url;
        let no_address = || Failure::Usage(format!("{node} is no address of a node; write it as http://HOST:PORT"));
        let mut url = node.clone();
        url.path_segments_mut().map_err(|()| no_address())?.pop_if_empty().extend(["api", "v1", "events"]).extend(path);
        url.set_query(None);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut headers = Vec::new();
        headers.extend(self.authorization.as_ref().map(|value| ("authorization", value.expose().to_owned())));
        let cargo = match body {
            Some(body) => {
                headers.push(("content-type", "application/json".to_owned()));
                Cargo::Whole(Bytes::from(Value::from(body).to_string()))
            }
            None => Cargo::Nothing,
        };
        let reply = self.http.carry(Outgoing { method, url: &url, headers, cargo, patience: PATIENCE }).await;
        let reply = reply.with_context(|| format!("cannot ask {node}"))?;
        let status = reply.status;
        let bytes = reply.whole(MAX_ANSWER_BYTES).await.with_context(|| format!("{node} breaks off its answer"))?;
        if !status.is_success() {
            return Err(Failure::Other(anyhow!("{node} refused it ({}): {}", status.as_u16(), refusal(&bytes))));
        }
        let read = serde_json::from_slice(&bytes).with_context(|| format!("{node} answers something else"))?;
        Ok(read)
    }
}

fn whole(answer: Value) -> Result<Map<String, Value>, Failure> {
    match answer {
        Value::Object(event) => Ok(event),
        other => Err(Failure::Other(anyhow!("the node answers something else: {}", json!(other)))),
    }
}

/// The message of a node's JSON, or whatever text came; without what moves a terminal's cursor.
fn refusal(bytes: &[u8]) -> String {
    let said = serde_json::from_slice::<Value>(bytes).ok().and_then(|it| Some(it.get("message")?.as_str()?.to_owned()));
    let text = said.unwrap_or_else(|| String::from_utf8_lossy(bytes).trim().to_owned());
    text.chars().filter(|letter| !letter.is_control()).take(2000).collect()
}
