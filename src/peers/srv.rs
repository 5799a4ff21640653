//! SRV records (RFC 2782), asked of the name servers of this machine: which hosts and ports a service has.
//!
//! Promises: answers are bounded, parsed without trust, and only from the server that was asked; every wait has a deadline.
//! Blocks on the network.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// One server's time for one answer; twice that where it must be asked again by TCP.
const PATIENCE: Duration = Duration::from_secs(3);
/// As the C library has them.
const MAX_SERVERS: usize = 3;
const MAX_SEARCH: usize = 6;
/// What fits everywhere without being cut up (RFC 9715); larger answers come by TCP.
const UDP_BYTES: u16 = 1232;
const TYPE_SRV: u16 = 33;
const TYPE_OPT: u16 = 41;
const CLASS_IN: u16 = 1;
/// Bits of the header: this is an answer; it was cut off; recursion is wished for.
const IS_ANSWER: u16 = 0x8000;
const IS_CUT_OFF: u16 = 0x0200;
const WISHES_RECURSION: u16 = 0x0100;
const NO_SUCH_NAME: u16 = 3;
/// The longest name, as text (RFC 1035 §2.3.4).
const MAX_NAME_BYTES: usize = 253;

/// Whom to ask, and what may be added to a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    /// A name with fewer dots is tried with what may be added first.
    ndots: usize,
}

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Hosts(Vec<(String, u16)>),
    NoSuchName,
    CutOff,
}

impl Resolver {
    pub fn of_this_machine() -> Self {
        // Without the file it is the machine itself, as for the C library.
        Self::parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut resolver = Self { servers: Vec::new(), search: Vec::new(), ndots: 1 };
        for line in text.lines() {
            let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    resolver.servers.extend(server.map(|address| SocketAddr::new(address, 53)));
                }
                // The last of them counts.
                Some("search" | "domain") => resolver.search = words.take(MAX_SEARCH).map(str::to_owned).collect(),
                Some("options") => {
                    let ndots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok()).next_back();
                    resolver.ndots = ndots.unwrap_or(resolver.ndots);
                }
                _ => {}
            }
        }
        resolver.servers.truncate(MAX_SERVERS);
        if resolver.servers.is_empty() {
            resolver.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53));
        }
        resolver
    }

    /// Hosts and ports of a service, in the order of the hosts. None is an error: it is hardly what was meant.
    pub fn services(&self, name: &str) -> io::Result<Vec<(String, u16)>> {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "there are no such records");
        for name in self.names(name) {
            let question = question(&name)?;
            match self.ask(&question) {
                Ok(Answer::Hosts(mut hosts)) if !hosts.is_empty() => {
                    hosts.sort_unstable();
                    hosts.dedup();
                    return Ok(hosts);
                }
                Ok(_) => {}
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// The name as it may be meant.
    fn names(&self, name: &str) -> Vec<String> {
        let Some(absolute) = name.strip_suffix('.') else {
            let longer = self.search.iter().map(|more| format!("{name}.{}", more.trim_end_matches('.')));
            let is_whole = name.matches('.').count() >= self.ndots;
            let whole = || std::iter::once(name.to_owned());
            return if is_whole { whole().chain(longer).collect() } else { longer.chain(whole()).collect() };
        };
        vec![absolute.to_owned()]
    }

    /// The first server that answers counts.
    fn ask(&self, question: &[u8]) -> io::Result<Answer> {
        let mut failed = None;
        for server in &self.servers {
            match ask_one(*server, question) {
                Ok(answer) => return Ok(answer),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| io::Error::other("there is no name server")))
    }
}

fn ask_one(server: SocketAddr, question: &[u8]) -> io::Result<Answer> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    // From then on nothing else than the server's datagrams comes in.
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(question)?;
    let mut answer = vec![0; usize::from(u16::MAX)];
    let length = socket.recv(&mut answer)?;
    match read_answer(&answer[..length], question)? {
        Answer::CutOff => {}
        whole => return Ok(whole),
    }
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    read_answer(&answer, question)
}

/// A question for SRV records (RFC 1035 §4), with a number that nobody guesses, and our size (RFC 6891).
fn question(name: &str) -> io::Result<Vec<u8>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, "it is no name of a service");
    let id = RandomState::new().hash_one(0u8) as u16;
    let mut bytes = Vec::new();
    for word in [id, WISHES_RECURSION, 1, 0, 0, 1] {
        bytes.extend(word.to_be_bytes());
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(bad());
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length)).ok_or_else(bad)?;
        bytes.push(length);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    for word in [TYPE_SRV, CLASS_IN] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.push(0);
    for word in [TYPE_OPT, UDP_BYTES, 0, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    Ok(bytes)
}

fn read_answer(bytes: &[u8], question: &[u8]) -> io::Result<Answer> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "the name server's answer is none");
    parse_answer(bytes, question).ok_or_else(bad)?
}

/// `None` where it is no answer to the question.
fn parse_answer(bytes: &[u8], question: &[u8]) -> Option<io::Result<Answer>> {
    let mut at = 0;
    let id = word(bytes, &mut at)?;
    let flags = word(bytes, &mut at)?;
    let [questions, answers, ..] = [(); 4].map(|()| word(bytes, &mut at));
    if flags & IS_ANSWER == 0 || id.to_be_bytes()[..] != question[..2] || questions? != 1 {
        return None;
    }
    match flags & 0xf {
        0 => {}
        NO_SUCH_NAME => return Some(Ok(Answer::NoSuchName)),
        code => return Some(Err(io::Error::other(format!("the name server says error {code}")))),
    }
    if flags & IS_CUT_OFF != 0 {
        return Some(Ok(Answer::CutOff));
    }
    let asked = name(question, &mut 12)?;
    if !name(bytes, &mut at)?.eq_ignore_ascii_case(&asked) {
        return None;
    }
    at += 4;
    let mut hosts = Vec::new();
    for _ in 0..answers? {
        name(bytes, &mut at)?;
        let (kind, class) = (word(bytes, &mut at)?, word(bytes, &mut at)?);
        at += 4;
        let length = usize::from(word(bytes, &mut at)?);
        let end = at.checked_add(length).filter(|end| *end <= bytes.len())?;
        if (kind, class) == (TYPE_SRV, CLASS_IN) {
            // Priority and weight, which say nothing to who asks all.
            at += 4;
            let port = word(bytes, &mut at)?;
            let host = name(bytes, &mut at)?;
            // A bare dot means that there is no such service.
            if !host.is_empty() {
                hosts.push((host, port));
            }
        }
        at = end;
    }
    Some(Ok(Answer::Hosts(hosts)))
}

fn word(bytes: &[u8], at: &mut usize) -> Option<u16> {
    let two = bytes.get(*at..*at + 2)?;
    *at += 2;
    Some(u16::from_be_bytes([two[0], two[1]]))
}

/// A name, which may go on elsewhere, always further to the front (RFC 1035 §4.1.4): so it ends.
fn name(bytes: &[u8], at: &mut usize) -> Option<String> {
    let mut text = String::new();
    let (mut place, mut has_jumped) = (*at, false);
    loop {
        let length = *bytes.get(place)?;
        match length {
            0 => {
                if !has_jumped {
                    *at = place + 1;
                }
                return Some(text);
            }
            1..64 => {
                let label = bytes.get(place + 1..place + 1 + usize::from(length))?;
                if !label.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)) {
                    return None;
                }
                if !text.is_empty() {
                    text.push('.');
                }
                text.extend(label.iter().map(|byte| char::from(*byte)));
                if text.len() > MAX_NAME_BYTES {
                    return None;
                }
                place += 1 + usize::from(length);
            }
            192.. => {
                let target = usize::from(word(bytes, &mut { place })? & 0x3fff);
                if !has_jumped {
                    *at = place + 2;
                }
                has_jumped = true;
                if target >= place {
                    return None;
                }
                place = target;
            }
            64..192 => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const SERVICE: &str = "_http._tcp.segvault.default.svc.cluster.local";

    /// An answer to `question` with these hosts, each name but the first by reference to the question's.
    fn answer(question: &[u8], flags: u16, hosts: &[(&str, u16)]) -> Vec<u8> {
        let mut bytes = question[..2].to_vec();
        for word in [IS_ANSWER | flags, 1, hosts.len() as u16, 0, 0] {
            bytes.extend(word.to_be_bytes());
        }
        let end = 12 + SERVICE.len() + 2 + 4;
        bytes.extend(&question[12..end]);
        for (host, port) in hosts {
            // The service's own name; its part "default.svc.cluster.local" begins after 21 bytes.
            bytes.extend([0xc0, 12]);
            for word in [TYPE_SRV, CLASS_IN, 0, 30, (6 + 1 + host.len() + 2) as u16, 0, 100, *port] {
                bytes.extend(word.to_be_bytes());
            }
            bytes.push(host.len() as u8);
            bytes.extend(host.as_bytes());
            bytes.extend([0xc0, 12 + 20]);
        }
        bytes
    }

    /// A name server that gives one answer by UDP, and one by TCP if it is told to.
    fn server(udp: impl Fn(&[u8]) -> Vec<u8> + Send + 'static, tcp: Option<Vec<(&'static str, u16)>>) -> Resolver {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let listener = TcpListener::bind(address).unwrap();
        std::thread::spawn(move || {
            let mut question = [0; 512];
            let (length, from) = socket.recv_from(&mut question).unwrap();
            socket.send_to(&udp(&question[..length]), from).unwrap();
            let Some(hosts) = tcp else { return };
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = vec![0; length + 2];
            stream.read_exact(&mut question).unwrap();
            let answer = answer(&question[2..], 0, &hosts);
            stream.write_all(&(answer.len() as u16).to_be_bytes()).unwrap();
            stream.write_all(&answer).unwrap();
        });
        Resolver { servers: vec![address], search: Vec::new(), ndots: 1 }
    }

    fn found(hosts: &[(&str, u16)]) -> Vec<(String, u16)> {
        hosts.iter().map(|(host, port)| (format!("{host}.default.svc.cluster.local"), *port)).collect()
    }

    #[test]
    fn a_service_has_hosts_and_ports() {
        let resolver = server(|question| answer(question, 0, &[("beta", 8001), ("alpha", 8000), ("beta", 8001)]), None);
        assert_eq!(resolver.services(SERVICE).unwrap(), found(&[("alpha", 8000), ("beta", 8001)]));
    }

    #[test]
    fn an_answer_that_was_cut_off_is_asked_for_again() {
        let resolver = server(|question| answer(question, IS_CUT_OFF, &[]), Some(vec![("alpha", 8000)]));
        assert_eq!(resolver.services(SERVICE).unwrap(), found(&[("alpha", 8000)]));
    }

    #[test]
    fn what_is_no_answer_is_an_error_and_so_is_none() {
        for flags in [NO_SUCH_NAME, 0, 2] {
            assert!(server(move |question| answer(question, flags, &[]), None).services(SERVICE).is_err());
        }
        for spoil in [0, 2, 13] {
            let resolver = server(
                move |question| {
                    let mut bytes = answer(question, 0, &[("alpha", 8000)]);
                    bytes[spoil] ^= 0x81;
                    bytes
                },
                None,
            );
            assert!(resolver.services(SERVICE).is_err(), "{spoil}");
        }
        assert!(question("a..b").is_err() && question(&"x".repeat(64)).is_err());
    }

    #[test]
    fn no_answer_however_mangled_makes_it_run_on_or_panic() {
        let question = question(SERVICE).unwrap();
        let whole = answer(&question, 0, &[("alpha", 8000), ("beta", 8001)]);
        assert!(matches!(read_answer(&whole, &question).unwrap(), Answer::Hosts(hosts) if hosts.len() == 2));
        for end in 0..whole.len() {
            assert!(read_answer(&whole[..end], &question).is_err(), "{end}");
        }
        for at in 0..whole.len() {
            for value in [0, 0x3f, 0x40, 0xc0, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                // Whatever it says, it ends.
                let _ = read_answer(&bytes, &question);
            }
        }
        // A name that refers to itself.
        let mut looping = answer(&question, 0, &[("alpha", 8000)]);
        let place = looping.len() - 2;
        looping.splice(place.., [0xc0, place as u8]);
        assert!(read_answer(&looping, &question).is_err());
    }

    #[test]
    fn the_machines_settings_are_read_as_the_c_library_does() {
        let text = "# k8s\nsearch default.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\n\
                    nameserver fe80::1\noptions ndots:5 timeout:1\nnameserver x\n";
        let resolver = Resolver::parse(text);
        assert_eq!(resolver.servers, ["10.96.0.10:53".parse().unwrap(), "[fe80::1]:53".parse().unwrap()]);
        assert_eq!(
            resolver.names("_http._tcp.segvault"),
            [
                "_http._tcp.segvault.default.svc.cluster.local",
                "_http._tcp.segvault.svc.cluster.local",
                "_http._tcp.segvault"
            ]
        );
        assert_eq!(resolver.names(SERVICE)[0], SERVICE);
        assert_eq!(resolver.names("_http._tcp.segvault."), ["_http._tcp.segvault"]);
        assert_eq!(Resolver::parse("").servers, ["127.0.0.1:53".parse().unwrap()]);
    }
}
