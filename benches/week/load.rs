//! Clients that read as fast as they can, over plain HTTP/1.1.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One answer, read to its end and thrown away.
#[derive(Debug, Clone, Copy)]
pub struct Transfer {
    pub bytes: u64,
    pub first_byte_seconds: f64,
    pub seconds: f64,
}

pub fn ask(stream: &mut TcpStream, path: &str, connection: &str) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: {connection}\r\n\r\n").unwrap();
}

/// Fetches once, on a connection of its own. Bytes are those on the wire.
pub fn fetch(address: SocketAddr, path: &str) -> Transfer {
    let mut stream = TcpStream::connect(address).unwrap();
    let began = Instant::now();
    ask(&mut stream, path, "close");
    let mut buffer = vec![0; 256 * 1024];
    let (mut bytes, mut first_byte_seconds) = (0, 0.0);
    loop {
        let read = stream.read(&mut buffer).unwrap();
        if read == 0 {
            return Transfer { bytes, first_byte_seconds, seconds: began.elapsed().as_secs_f64() };
        }
        if bytes == 0 {
            assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..read.min(400)]));
            first_byte_seconds = began.elapsed().as_secs_f64();
        }
        bytes += read as u64;
    }
}

/// The text of an answer, its head included.
pub fn fetch_text(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    ask(&mut stream, path, "close");
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Answers per second that `clients` get together, each asking on one kept connection for `paths` in turn.
pub fn requests_per_second(address: SocketAddr, paths: &[String], clients: usize, duration: Duration) -> f64 {
    let (done, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (done, over) = (&done, &over);
            scope.spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_nodelay(true).unwrap();
                let mut reader = BufReader::with_capacity(256 * 1024, stream.try_clone().unwrap());
                for path in paths.iter().cycle().skip(client * 7 % paths.len()) {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    ask(&mut stream, path, "keep-alive");
                    read_answer(&mut reader);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(duration);
        over.store(true, Ordering::Relaxed);
    });
    done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

pub fn read_answer(reader: &mut BufReader<TcpStream>) {
    let mut length = None;
    let mut line = String::new();
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = Some(value.trim().parse::<u64>().unwrap());
        }
    }
    let mut left = length.expect("an answer with a length");
    while left > 0 {
        let held = reader.fill_buf().unwrap().len() as u64;
        assert!(held > 0, "the answer was cut off");
        let taken = held.min(left);
        reader.consume(taken as usize);
        left -= taken;
    }
}
