//! A name server whose zone is the root and is really signed (DNSSEC, RFC 4035): whoever validates has something to check, from its key on.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr as _;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use hickory_server::Server;
use hickory_server::dnssec::NxProofKind;
use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::proto::dnssec::crypto::Ed25519SigningKey;
use hickory_server::proto::dnssec::rdata::DNSKEY;
use hickory_server::proto::dnssec::{DnssecSigner, SigningKey as _};
use hickory_server::proto::rr::rdata::tlsa::{CertUsage, Matching, Selector};
use hickory_server::proto::rr::rdata::{A, MX, NS, SOA, TLSA};
use hickory_server::proto::rr::{Name, RData, Record, RecordSet, RecordType, RrKey};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use tokio::net::{TcpListener, UdpSocket};

use crate::wait::PATIENCE;

const SERIAL: u32 = 1;
const TTL: u32 = 60;

type Handler = InMemoryZoneHandler<TokioRuntimeProvider>;

/// What the zone is to have.
pub struct SignedZone {
    records: Vec<(String, RData)>,
    insecure: BTreeSet<String>,
    forged: BTreeSet<String>,
    hidden: BTreeSet<String>,
}

/// A zone that is served until the test ends.
pub struct Served {
    /// Where it listens, over UDP and TCP.
    pub address: SocketAddr,
    /// Its key, as a record DNSKEY.
    pub anchor: String,
}

impl SignedZone {
    /// There is nothing in it.
    #[expect(clippy::new_without_default, reason = "an empty zone is where a test begins, and no value that stands for none")]
    pub fn new() -> Self {
        Self { records: Vec::new(), insecure: BTreeSet::new(), forged: BTreeSet::new(), hidden: BTreeSet::new() }
    }

    /// Mail for `domain` goes to `mx.DOMAIN`, on this machine.
    ///
    /// # Errors
    /// It is no name.
    pub fn mail(mut self, domain: &str) -> Result<Self> {
        let host = format!("mx.{domain}");
        self.records.push((domain.to_owned(), RData::MX(MX::new(10, name(&host)?))));
        self.records.push((host, RData::A(A(Ipv4Addr::LOCALHOST))));
        Ok(self)
    }

    /// The certificate of a service, by the SHA-256 of its public key (TLSA 3 1 1).
    #[must_use]
    pub fn tlsa(mut self, at: &str, digest: &[u8; 32]) -> Self {
        let tlsa = TLSA::new(CertUsage::DaneEe, Selector::Spki, Matching::Sha256, digest.to_vec());
        self.records.push((at.to_owned(), RData::TLSA(tlsa)));
        self
    }

    /// Nothing of `domain` is signed, and the zone above says so.
    #[must_use]
    pub fn insecure(mut self, domain: &str) -> Self {
        self.insecure.insert(domain.to_owned());
        self
    }

    /// Somebody puts other octets into the TLSA record at `at`, under the old signature.
    #[must_use]
    pub fn forged(mut self, at: &str) -> Self {
        self.forged.insert(at.to_owned());
        self
    }

    /// Somebody says that nothing is at `at`, where something is.
    #[must_use]
    pub fn hidden(mut self, at: &str) -> Self {
        self.hidden.insert(at.to_owned());
        self
    }

    /// Signs it and listens on a free port of loopback.
    ///
    /// # Errors
    /// What cannot be signed, and where nothing is free.
    pub fn serve(self) -> Result<Served> {
        let mut zone = Handler::empty(Name::root(), ZoneType::Primary, AxfrPolicy::Deny, Some(NxProofKind::Nsec));
        let soa = || -> Result<RData> { Ok(RData::SOA(SOA::new(name("ns")?, name("root")?, SERIAL, 60, 60, 60, TTL))) };
        put(&mut zone, "", soa()?)?;
        for (owner, data) in &self.records {
            put(&mut zone, owner, data.clone())?;
        }
        for domain in &self.insecure {
            put(&mut zone, domain, RData::NS(NS(name("ns")?)))?;
        }
        let pkcs8 = Ed25519SigningKey::generate_pkcs8()?;
        let key = Ed25519SigningKey::from_pkcs8(&pkcs8)?;
        let dnskey = DNSKEY::from_key(&key.to_public_key()?);
        let anchor = format!(". IN DNSKEY {dnskey}\n");
        zone.add_zone_signing_key_mut(DnssecSigner::new(dnskey, Box::new(key), Name::root(), PATIENCE * 60))?;
        zone.secure_zone_mut()?;
        self.tamper(&mut zone)?;
        for domain in &self.insecure {
            // From here on it is a zone of its own.
            put(&mut zone, domain, soa()?)?;
        }
        let mut catalog = Catalog::new();
        catalog.upsert(Name::root().into(), vec![Arc::new(zone)]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (udp, tcp) = runtime.block_on(bind())?;
        let address = tcp.local_addr()?;
        thread::spawn(move || {
            runtime.block_on(async move {
                let mut server = Server::new(catalog);
                server.register_socket(udp);
                server.register_listener(tcp, PATIENCE, 8);
                server.block_until_done().await
            })
        });
        Ok(Served { address, anchor })
    }

    /// Does to what is signed what a test is about.
    fn tamper(&self, zone: &mut Handler) -> Result<()> {
        let names = |set: &BTreeSet<String>| set.iter().map(|text| name(text)).collect::<Result<Vec<Name>>>();
        let (insecure, forged, hidden) = (names(&self.insecure)?, names(&self.forged)?, names(&self.hidden)?);
        let records = zone.records_get_mut();
        records.retain(|key, _| !hidden.contains(&Name::from(&key.name)) || key.record_type == RecordType::NSEC);
        for (key, set) in records.iter_mut() {
            let owner = Name::from(&key.name);
            let is_below = insecure.iter().any(|domain| domain.zone_of(&owner));
            if is_below && key.record_type != RecordType::NSEC {
                Arc::make_mut(set).clear_rrsigs();
            }
        }
        for owner in forged {
            let key = RrKey::new((&owner).into(), RecordType::TLSA);
            let set = records.get_mut(&key).with_context(|| format!("{owner} has no TLSA record"))?;
            let signatures = set.rrsigs().to_vec();
            let mut other = RecordSet::with_ttl(owner.clone(), RecordType::TLSA, TTL);
            other.add_rdata(RData::TLSA(TLSA::new(CertUsage::DaneEe, Selector::Spki, Matching::Sha256, vec![0; 32])));
            other.set_rrsigs(signatures);
            *set = Arc::new(other);
        }
        Ok(())
    }
}

fn name(text: &str) -> Result<Name> {
    Name::from_str(&format!("{text}.")).with_context(|| format!("{text} is no name"))
}

fn put(zone: &mut Handler, owner: &str, data: RData) -> Result<()> {
    let record = Record::from_rdata(name(owner)?, TTL, data);
    if zone.upsert_mut(record, SERIAL) { Ok(()) } else { Err(anyhow!("{owner} has that already")) }
}

async fn bind() -> Result<(UdpSocket, TcpListener)> {
    for _ in 0..20 {
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr()?).await {
            return Ok((udp, tcp));
        }
    }
    Err(anyhow!("no port is free for both UDP and TCP"))
}
