//! As much of an HTTP server as a stand-in needs to misbehave byte by byte.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// A request whose body is still to be read.
pub struct Request<'a> {
    pub method: String,
    /// Without the query.
    pub path: String,
    pub query: BTreeMap<String, String>,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub left_bytes: u64,
    connection: &'a mut BufReader<TcpStream>,
}

impl Request<'_> {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// The next bytes of the body, at most 64 KiB; none at its end.
    pub fn piece(&mut self) -> Vec<u8> {
        // A read of nothing would wait all the same.
        if self.left_bytes == 0 {
            return Vec::new();
        }
        let mut piece = vec![0; self.left_bytes.min(64 << 10) as usize];
        let read = self.connection.read(&mut piece).unwrap_or(0);
        // Whoever has gone has said all.
        self.left_bytes = if read == 0 { 0 } else { self.left_bytes - read as u64 };
        piece.truncate(read);
        piece
    }

    pub fn body(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while self.left_bytes > 0 {
            body.extend(self.piece());
        }
        body
    }
}

/// What is answered; `None` closes the connection instead.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<String>) -> Option<Self> {
        Some(Self { status, headers: Vec::new(), body: body.into() })
    }

    pub fn with(status: u16, name: &'static str, value: String) -> Option<Self> {
        Some(Self { status, headers: vec![(name, value)], body: String::new() })
    }
}

/// Serves until the process ends, and gives the port.
pub fn serve(answer: impl Fn(&mut Request<'_>) -> Option<Answer> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || converse(client, &*answer));
        }
    });
    port
}

fn converse(client: TcpStream, answer: &dyn Fn(&mut Request<'_>) -> Option<Answer>) {
    let _ = client.set_nodelay(true);
    let mut connection = BufReader::with_capacity(64 << 10, client);
    while let Some(mut request) = read_head(&mut connection) {
        let is_head = request.method == "HEAD";
        let Some(answer) = answer(&mut request) else { return };
        // What nobody read is in the way of the next request.
        request.body();
        let mut text = format!("HTTP/1.1 {} Whatever\r\ncontent-length: {}\r\n", answer.status, answer.body.len());
        if answer.headers.iter().any(|(name, _)| *name == "content-length") {
            text = format!("HTTP/1.1 {} Whatever\r\n", answer.status);
        }
        for (name, value) in &answer.headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        if !is_head {
            text += &answer.body;
        }
        if connection.get_mut().write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn read_head(connection: &mut BufReader<TcpStream>) -> Option<Request<'_>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut first = lines.first()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let url = url::Url::parse("http://here").unwrap().join(&target).ok()?;
    let headers: BTreeMap<String, String> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let left_bytes = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let query = url.query_pairs().into_owned().collect();
    Some(Request { method, path: url.path().to_owned(), query, headers, left_bytes, connection })
}
