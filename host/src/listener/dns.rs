//! The sockets of our zone: questions over UDP and TCP, answered by [`sending_domain::answer`](crate::sending_domain::answer).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::config::DnsServer;
use crate::listener::places::{Place, Places};
use crate::listener::port::Port;
use crate::sending_domain::SendingDomains;
use crate::sending_domain::answer::{Transport, answer};
use crate::sending_domain::answer_rate::AnswerRate;
use crate::sending_domain::zone::Zone;

/// Octets of a question; none of ours comes near.
const LONGEST_QUESTION: usize = 4096;
/// How old the zone may be that is answered from.
const ZONE_AGE: Duration = Duration::from_secs(1);
/// Pause after a failure of the system.
const PAUSE: Duration = Duration::from_millis(100);
/// Ports that are tried until one is free for both, where any will do.
const TRIES: usize = 20;

/// Ports for both, bound while we still may.
#[derive(Debug)]
pub struct DnsPorts {
    /// For questions in packets.
    pub udp: std::net::UdpSocket,
    /// For questions over connections.
    pub tcp: Port,
}

/// The two sockets at work.
#[derive(Debug)]
pub struct DnsListener {
    udp: UdpSocket,
    tcp: TcpListener,
}

/// What is answered from.
struct Answers {
    domains: SendingDomains,
    clock: Clock,
    zone: parking_lot::Mutex<(Duration, Option<Arc<Zone>>)>,
}

impl DnsPorts {
    /// Binds both, on the same port.
    ///
    /// # Errors
    /// As the system says.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let mut tries = if address.port() == 0 { TRIES } else { 1 };
        loop {
            tries -= 1;
            let tcp = Port::bind(address)?;
            match std::net::UdpSocket::bind(tcp.address()?) {
                Ok(udp) => return Ok(Self { udp, tcp }),
                Err(error) if tries == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Listens on both. To be called on the runtime.
    ///
    /// # Errors
    /// As the system says.
    pub fn listen(self) -> io::Result<DnsListener> {
        self.udp.set_nonblocking(true)?;
        Ok(DnsListener { udp: UdpSocket::from_std(self.udp)?, tcp: self.tcp.listen()? })
    }
}

impl DnsListener {
    /// Where they are bound.
    ///
    /// # Errors
    /// As the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Answers until `shutdown`.
    pub async fn run(self, settings: DnsServer, domains: SendingDomains, clock: Clock, shutdown: CancellationToken) {
        let answers = Arc::new(Answers { zone: parking_lot::Mutex::new((Duration::ZERO, None)), domains, clock });
        let Self { udp, tcp } = self;
        tokio::join!(packets(udp, &settings, &answers, &shutdown), connections(tcp, &settings, &answers, &shutdown));
    }
}

impl Answers {
    fn answer(&self, question: &[u8], transport: Transport) -> Option<Vec<u8>> {
        answer(self.zone().as_deref(), question, transport)
    }

    fn zone(&self) -> Option<Arc<Zone>> {
        let now = self.clock.monotonic();
        let mut zone = self.zone.lock();
        if zone.1.is_none() || now.saturating_sub(zone.0) > ZONE_AGE {
            *zone = (now, self.domains.zone().map(Arc::new));
        }
        zone.1.clone()
    }
}

async fn packets(socket: UdpSocket, settings: &DnsServer, answers: &Answers, shutdown: &CancellationToken) {
    let mut rate = AnswerRate::new(settings.answers_per_second, settings.networks);
    let mut question = vec![0; LONGEST_QUESTION];
    loop {
        let received = tokio::select! {
            () = shutdown.cancelled() => return,
            received = socket.recv_from(&mut question) => received,
        };
        let (length, peer) = match received {
            Ok(received) => received,
            Err(error) => {
                debug!(%error, "a question could not be received");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Nothing that asks has port 0, and whoever it would be about could not be reached.
        if peer.port() == 0 {
            continue;
        }
        let Some(transport) = rate.take(peer.ip(), answers.clock.monotonic()) else { continue };
        if let Some(answer) = answers.answer(question.get(..length).unwrap_or_default(), transport)
            && let Err(error) = socket.try_send_to(&answer, peer)
        {
            debug!(%peer, %error, "an answer could not be sent");
        }
    }
}

async fn connections(listener: TcpListener, settings: &DnsServer, answers: &Arc<Answers>, shutdown: &CancellationToken) {
    let places = Places::new(settings.connections, settings.connections_per_address);
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "a name server's connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Whoever has too many is closed, and comes again.
        let Some(place) = places.take(peer.ip()) else { continue };
        let (answers, time, shutdown) = (Arc::clone(answers), settings.connection_time, shutdown.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                ended = converse(stream, &answers, time, place) => if let Err(error) = ended {
                    debug!(%error, "a connection of a name server ended");
                }
            }
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// Questions and answers with their lengths in front (RFC 1035 §4.2.2), until one of us has enough.
async fn converse(mut stream: TcpStream, answers: &Answers, time: Duration, mut place: Place) -> io::Result<()> {
    let mut question = vec![0; LONGEST_QUESTION];
    loop {
        let asking = async {
            let length = usize::from(timeout(time, stream.read_u16()).await??);
            let Some(question) = question.get_mut(..length) else { return Ok(None) };
            timeout(time, stream.read_exact(question)).await??;
            io::Result::Ok(Some(&*question))
        };
        let asked = tokio::select! {
            asked = asking => asked?,
            // Another one needs the place, and this one has been silent for longest.
            () = place.given_up() => return Ok(()),
        };
        let Some(question) = asked else { return Ok(()) };
        let Some(answer) = answers.answer(question, Transport::Tcp) else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let framed = [length.to_be_bytes().as_slice(), &answer].concat();
        tokio::select! {
            written = timeout(time, stream.write_all(&framed)) => written??,
            () = place.given_up() => return Ok(()),
        }
        place.used();
    }
}
