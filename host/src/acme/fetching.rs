//! One order at an authority: account, challenges, certificate.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeHandle, ChallengeType, ExternalAccountKey, Identifier, NewAccount, NewOrder,
    OrderStatus, RetryPolicy,
};
use rustls::pki_types::PrivateKeyDer;

use super::{Keeper, PATIENCE, write_private};
use crate::config::{Acme, AcmeChallenge};

/// What one order needs.
pub(super) struct Fetching<'a> {
    pub(super) acme: &'a Acme,
    /// Names that the certificate is for, in A-labels.
    pub(super) domains: &'a [String],
    pub(super) folder: &'a Path,
    pub(super) keeper: &'a Keeper,
}

impl Fetching<'_> {
    /// Returns key and chain in PEM.
    pub(super) async fn run(&self) -> Result<String> {
        let account = self.account().await.context("the account")?;
        let names: Vec<Identifier> = self.domains.iter().map(|name| Identifier::Dns(name.clone())).collect();
        let mut order = account.new_order(&NewOrder::new(&names)).await.context("the order")?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                status @ (AuthorizationStatus::Invalid
                | AuthorizationStatus::Revoked
                | AuthorizationStatus::Expired
                | AuthorizationStatus::Deactivated) => bail!("an authorization is {status:?}"),
            }
            let kind = match self.acme.challenge {
                AcmeChallenge::Http => ChallengeType::Http01,
                AcmeChallenge::TlsAlpn => ChallengeType::TlsAlpn01,
            };
            let mut challenge = authorization.challenge(kind).context("the authority does not offer this challenge")?;
            self.answer(&challenge)?;
            challenge.set_ready().await?;
        }
        let patience = RetryPolicy::new().timeout(PATIENCE / 3);
        match order.poll_ready(&patience).await? {
            OrderStatus::Ready => {}
            status @ (OrderStatus::Pending | OrderStatus::Processing | OrderStatus::Valid | OrderStatus::Invalid) => {
                bail!("the order is {status:?}: {}", self.explanation(&mut order).await);
            }
        }
        let key = rcgen::KeyPair::generate()?;
        let mut request = rcgen::CertificateParams::new(self.domains)?;
        request.distinguished_name = rcgen::DistinguishedName::new();
        order.finalize_csr(request.serialize_request(&key)?.der()).await?;
        let chain = order.poll_certificate(&patience).await?;
        Ok(format!("{}{chain}", key.serialize_pem()))
    }

    /// What the authority says of challenges that failed.
    async fn explanation(&self, order: &mut instant_acme::Order) -> String {
        let mut reasons = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(authorization)) = authorizations.next().await {
            let name = authorization.identifier().to_string();
            let errors = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            reasons.extend(errors.map(|error| format!("{name}: {error}")));
        }
        if reasons.is_empty() { "no reason is given".to_owned() } else { reasons.join("; ") }
    }

    fn answer(&self, challenge: &ChallengeHandle<'_>) -> Result<()> {
        let authorization = challenge.key_authorization();
        match self.acme.challenge {
            AcmeChallenge::Http => self.keeper.challenges.put(&challenge.token, authorization.as_str()),
            AcmeChallenge::TlsAlpn => {
                let name = challenge.identifier().to_string();
                let key = rcgen::KeyPair::generate()?;
                let mut parameters = rcgen::CertificateParams::new([name.clone()])?;
                parameters.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(authorization.digest().as_ref())];
                let certificate = parameters.self_signed(&key)?;
                let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| anyhow::anyhow!(error))?;
                self.keeper.certificate.put_challenge(&name, certificate.der().clone(), key)?;
            }
        }
        Ok(())
    }

    /// The account at this directory: as it was kept, or a new one.
    async fn account(&self) -> Result<Account> {
        let builder = match &self.acme.ca {
            Some(ca) => Account::builder_with_root(ca)?,
            None => Account::builder()?,
        };
        let path = self.account_path();
        if let Ok(octets) = std::fs::read(&path) {
            let credentials: AccountCredentials = serde_json::from_slice(&octets)
                .with_context(|| format!("{} is no account; remove it to make a new one", path.display()))?;
            return Ok(builder.from_credentials(credentials).await?);
        }
        let contact: Vec<&str> = self.acme.contact.as_deref().into_iter().collect();
        let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let external = self.acme.external_account.as_ref().map(|(id, key)| {
            let key = URL_SAFE_NO_PAD.decode(key.expose().trim_end_matches('=')).context("external_key is not base64url")?;
            Ok::<_, anyhow::Error>(ExternalAccountKey::new(id.clone(), &key))
        });
        let external = external.transpose()?;
        let (account, credentials) = builder.create(&new, self.acme.directory.to_string(), external.as_ref()).await?;
        write_private(&path, &serde_json::to_vec_pretty(&credentials)?).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(account)
    }

    /// One file for each authority: an account of one is nothing to another.
    fn account_path(&self) -> PathBuf {
        let name: String = self.acme.directory.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        self.folder.join(format!("account-{name}.json"))
    }
}
