//! Stands before a server and breaks connections: amid a request, or before its answer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::dice::Dice;

/// What becomes of the connections.
#[derive(Debug, Default)]
pub struct Faults {
    /// The next request that has this in it is carried to the server, and its answer is not carried back.
    pub drop_answer_to: Option<&'static str>,
    /// Numbers to draw more faults by, until they have been drawn.
    pub dice: Option<Dice>,
    pub faults_left: u32,
    /// Bytes that clients sent.
    pub carried_bytes: u64,
}

enum Fate {
    Whole,
    /// The connection ends after so many bytes of the client.
    CutAfter(u64),
    AnswerDropped,
}

pub struct FlakyProxy {
    pub port: u16,
    pub faults: Arc<Mutex<Faults>>,
}

impl FlakyProxy {
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self { port: listener.local_addr().unwrap().port(), faults: Arc::default() };
        let faults = Arc::clone(&proxy.faults);
        // It ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let faults = Arc::clone(&faults);
                std::thread::spawn(move || carry(&client, &server, &faults));
            }
        });
        proxy
    }
}

fn draw(faults: &mut Faults) -> Fate {
    if faults.faults_left == 0 {
        return Fate::Whole;
    }
    let Some(dice) = &mut faults.dice else { return Fate::Whole };
    let fate = match dice.below(5) {
        0 => Fate::CutAfter(dice.below(2_000)),
        1 => Fate::CutAfter(dice.below(6 << 20)),
        2 => Fate::AnswerDropped,
        _ => return Fate::Whole,
    };
    faults.faults_left -= 1;
    fate
}

fn carry(client: &TcpStream, server: &TcpStream, faults: &Arc<Mutex<Faults>>) {
    let fate = draw(&mut faults.lock().unwrap());
    let drops = Arc::new(AtomicBool::new(matches!(fate, Fate::AnswerDropped)));
    let (mut from, mut to, seen) = (server.try_clone().unwrap(), client.try_clone().unwrap(), Arc::clone(&drops));
    let answers = std::thread::spawn(move || {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut piece) {
            if seen.load(Ordering::SeqCst) || to.write_all(&piece[..read]).is_err() {
                break;
            }
        }
        let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    });
    let (mut from, mut to) = (client, server);
    let (mut piece, mut carried) = (vec![0; 64 * 1024], 0u64);
    while let Ok(read @ 1..) = from.read(&mut piece) {
        let mut faults = faults.lock().unwrap();
        faults.carried_bytes += read as u64;
        let wanted = faults.drop_answer_to;
        if wanted.is_some_and(|wanted| String::from_utf8_lossy(&piece[..read]).contains(wanted)) {
            faults.drop_answer_to = None;
            drops.store(true, Ordering::SeqCst);
        }
        drop(faults);
        let rest = match fate {
            Fate::CutAfter(bytes) => bytes.saturating_sub(carried).min(read as u64),
            Fate::Whole | Fate::AnswerDropped => read as u64,
        };
        carried += rest;
        if to.write_all(&piece[..rest as usize]).is_err() || rest < read as u64 {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    if matches!(fate, Fate::CutAfter(_)) {
        let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    }
    let _ = answers.join();
}
