//! `/coverage…`: how much of each quality is there, as figures, as a map, and as a page with the maps of all nodes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::params::{self, Query};
use super::{HttpError, Site};
use crate::model::{Channel, PeerUrl, Quality, Span};
use crate::png;
use crate::select::{Map, Report, coverage_span};
use crate::store;

/// What the page looks like; a file of its own, as no page of ours needs what a policy of content may forbid.
const STYLE: &str = include_str!("coverage.css");
/// A map of more than this many hours is asked for in parts: 4,320 pixels wide.
const MAX_MAP_HOURS: i64 = 24 * 30;

/// Figures of each hour and the holes, with what the ledger says of them; without start or end, of all there is.
pub async fn figures(
    site: web::Data<Site>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (channel, quality) = (params::channel(&path.0)?, params::quality(&path.1)?);
    let query = Query::parse(request.query_string());
    let (start, end) = (query.time("start")?, query.time("end")?);
    if let (Some(start), Some(end)) = (start, end) {
        Span::new(start, end)?;
    }
    let stream = site.coverages.of(&channel, &quality, &site.blocking).await?;
    let Some(span) = coverage_span(&stream, start, end) else { return Err(HttpError::Absent("record")) };
    let (layout, of) = (site.layout.clone(), (channel.clone(), quality.clone()));
    let report = site
        .blocking
        .run(move || {
            let losses = store::losses(&layout, &of.0, &of.1, Some(span))?;
            let standing: Vec<_> = losses.into_iter().filter(|standing| !standing.filled).collect();
            Ok::<_, HttpError>(Report::new(&stream, span, &standing).to_json())
        })
        .await??;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-cache")).json(report))
}

/// The map: two seconds a pixel, ten minutes a column. Without start, of the latest hours that the node keeps maps of.
pub async fn map(
    site: web::Data<Site>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (channel, quality) = (params::channel(&path.0)?, params::quality(&path.1)?);
    let query = Query::parse(request.query_string());
    let (start, end) = (query.time("start")?, query.time("end")?);
    let stream = site.coverages.of(&channel, &quality, &site.blocking).await?;
    let Some((first, last)) = stream.latest_hours(site.coverage.map_hours()) else {
        return Err(HttpError::Absent("record"));
    };
    let (first, last) = (start.map_or(first, |start| start.hour()), end.map_or(last, |end| end.hour()));
    let hours = last.start().micros_since(first.start()) / 3_600_000_000 + 1;
    if !(1..=MAX_MAP_HOURS).contains(&hours) {
        let why = format!("the map would be of {hours} hours; ask for 1 to {MAX_MAP_HOURS}");
        return Err(HttpError::Parameter { parameter: "range", why });
    }
    let off = site.coverage.off(&channel);
    let picture = site
        .blocking
        .run(move || {
            let map = stream.map(first, last, &off);
            png::write(map.width(), Map::HEIGHT, &Map::PALETTE, &map.rows())
        })
        .await?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-cache")).content_type("image/png").body(picture))
}

pub async fn style() -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "max-age=3600")).content_type("text/css").body(STYLE)
}

/// Of each quality: this node's map, and those of the nodes that it is copied from.
pub async fn page(site: web::Data<Site>) -> Result<HttpResponse, HttpError> {
    let layout = site.layout.clone();
    let own = site.blocking.run(move || store::streams(&layout)).await??;
    let mut streams: BTreeMap<(Channel, Quality), Vec<PeerUrl>> =
        own.into_iter().map(|stream| (stream, Vec::new())).collect();
    for (peer, channel, quality) in site.directory.backfill_peers.keys() {
        streams.entry((channel, quality)).or_default().push(peer);
    }
    streams.retain(|(_, quality), _| quality.as_str() != "chat");
    let body = html(site.name.as_str(), &streams);
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'self'; img-src *"))
        .content_type("text/html; charset=utf-8")
        .body(body))
}

/// Names and addresses may hold what HTML reads: they are escaped.
fn html(node: &str, streams: &BTreeMap<(Channel, Quality), Vec<PeerUrl>>) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"refresh\" content=\"60\">\n<title>Coverage - {}</title>\n<link rel=\"stylesheet\" href=\"/coverage/style.css\">\n\
         <h1>Coverage</h1>\n<ul class=\"key\"><li class=\"shown\">whole<li class=\"unsure\">partial or suspect<li class=\"missing\">nothing\
         <li class=\"hidden\">tombstoned<li class=\"off\">planned off</ul>\n\
         <p>Two seconds a pixel downwards, ten minutes a column. Times are UTC; the right edge is the latest hour.</p>\n",
        escaped(node)
    );
    if streams.is_empty() {
        html.push_str("<p>Nothing has been recorded yet.</p>\n");
    }
    for ((channel, quality), peers) in streams {
        let _ = write!(
            html,
            "<section>\n<h2>{} <small>{}</small></h2>\n<div class=\"maps\">\n",
            escaped(channel.as_str()),
            escaped(quality.as_str())
        );
        figure(&mut html, node, "", channel, quality);
        let mut peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
        peers.sort_unstable();
        for peer in peers {
            figure(&mut html, &peer, peer.trim_end_matches('/'), channel, quality);
        }
        html.push_str("</div>\n</section>\n");
    }
    html.push_str("</html>\n");
    html
}

fn figure(html: &mut String, node: &str, base: &str, channel: &Channel, quality: &Quality) {
    let part = |name: &str| utf8_percent_encode(name, NON_ALPHANUMERIC).to_string();
    let address = format!("{}/coverage/{}/{}", escaped(base), part(channel.as_str()), part(quality.as_str()));
    let (node, channel, quality) = (escaped(node), escaped(channel.as_str()), escaped(quality.as_str()));
    let _ = writeln!(
        html,
        "<figure><figcaption>{node}</figcaption><a href=\"{address}\">\
         <img src=\"{address}.png\" height=\"300\" alt=\"{channel}, {quality}, on {node}\"></a></figure>"
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_every_node_and_escapes_what_others_say() {
        let stream = ("c<\"h".parse().unwrap(), "source".parse().unwrap());
        let peers = vec!["http://beta:8000".parse().unwrap(), "http://alpha:8000/a%22b".parse().unwrap()];
        let page = html("no<de", &BTreeMap::from([(stream, peers)]));
        assert!(page.contains("<figcaption>no&lt;de</figcaption>"), "{page}");
        assert!(page.contains("src=\"http://beta:8000/coverage/c%3C%22h/source.png\""), "{page}");
        assert!(page.contains("<h2>c&lt;&quot;h <small>"), "{page}");
        assert!(page.find("alpha").unwrap() < page.find("beta").unwrap());
        assert!(html("n", &BTreeMap::new()).contains("Nothing has been recorded"));
    }
}
