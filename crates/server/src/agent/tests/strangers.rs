//! Who is given a copy, and who is not.

use crate::agent::access::Access;
use crate::agent::dial::Dialler;
use crate::agent::donor::{Donor, listen};
use crate::agent::{Agent, AgentError, AgentOptions};
use crate::seldom::Seldom;
use crate::tls::issue::{self, Dates, Issued};
use crate::tls::{Files, Identity, Keyring};
use backstay_config::{Config, Credentials};
use backstay_model::{Address, ClusterName, InstanceName};
use std::fs;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// One authority and its folder.
struct Authority {
    folder: TempDir,
    issued: Issued,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let issued = issue::authority("shop", Dates::from_now(10)).unwrap();
        fs::write(folder.path().join("authority.pem"), &issued.certificate).unwrap();
        Self { folder, issued }
    }

    fn keyring(&self, identity: &Identity) -> Option<Arc<Keyring>> {
        let issued = issue::certificate(&self.issued, identity, &[], Dates::from_now(10)).unwrap();
        let [certificate, key] = ["pem", "key"].map(|end| self.folder.path().join(format!("own.{end}")));
        fs::write(&certificate, issued.certificate).unwrap();
        fs::write(&key, issued.key).unwrap();
        let files =
            Files { authority: self.folder.path().join("authority.pem"), own: Some((certificate, key)) };
        Some(Arc::new(Keyring::open(files, identity.clone()).unwrap()))
    }
}

fn agent(name: &str) -> Identity {
    Identity::Agent { cluster: "shop".into(), name: name.into() }
}

/// The agent of `db2`, whose server is not there, and where it listens.
async fn donor(keyring: Option<Arc<Keyring>>, folder: &TempDir) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
    let mut options = AgentOptions::new("db2".into(), address.clone());
    options.data = folder.path().to_owned();
    options.rescue = folder.path().join("rescue");
    let access = Access {
        credentials: Credentials::default(),
        address: Address { host: "127.0.0.1".into(), port: 1 },
        socket: None,
    };
    let donor = Donor {
        options: Arc::new(options),
        access,
        cluster: "shop".into(),
        others: vec!["db1".into(), "db3".into()],
        keyring,
        turn: Semaphore::new(1),
        complaints: Seldom::default(),
    };
    tokio::spawn(listen(listener, Arc::new(donor)));
    address
}

/// What a caller is told.
async fn told(
    address: &Address,
    cluster: &str,
    me: &str,
    donor: &str,
    keyring: Option<Arc<Keyring>>,
) -> String {
    let dialler = Dialler { cluster: ClusterName::from(cluster), me: InstanceName::from(me), keyring };
    match dialler.call(&donor.into(), address, true).await {
        Ok((_, greeting)) => panic!("{greeting:?}"),
        Err(trouble) => trouble.to_string(),
    }
}

#[tokio::test]
async fn only_the_agent_of_another_instance_of_the_service_is_given_anything() {
    let folder = tempfile::tempdir().unwrap();
    let address = donor(None, &folder).await;
    let cases = [
        // It is let in, and the server is not there.
        ("shop", "db1", "db2", "refused 'SELECT VERSION()"),
        ("other", "db1", "db2", "this is cluster shop"),
        ("shop", "db1", "db3", "this is the agent of db2, not of db3"),
        ("shop", "db2", "db2", "the file does not list db2 beside db2"),
        ("shop", "db9", "db2", "the file does not list db9 beside db2"),
    ];
    for (cluster, me, wanted, reason) in cases {
        let why = told(&address, cluster, me, wanted, None).await;
        assert!(why.contains(reason), "{why}");
    }
}

#[tokio::test]
async fn an_agent_proves_whose_it_is_and_nobody_else_may_have_a_copy() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let address = donor(authority.keyring(&agent("db2")), &folder).await;
    let call = |identity: Identity| told(&address, "shop", "db1", "db2", authority.keyring(&identity));
    let why = call(agent("db1")).await;
    assert!(why.contains("refused 'SELECT VERSION()"), "{why}");
    for identity in [
        agent("db3"),
        Identity::Gateway { cluster: "shop".into(), name: "db1".into() },
        Identity::Node { cluster: "shop".into(), name: "db1".into() },
    ] {
        let why = call(identity).await;
        assert!(why.contains("the certificate is not that of the agent of db1"), "{why}");
    }
    // Another authority's, and one that listens where another should.
    let other = Authority::new();
    let why = told(&address, "shop", "db1", "db2", other.keyring(&agent("db1"))).await;
    assert!(why.contains("another authority"), "{why}");
    let why = told(&address, "shop", "db1", "db3", authority.keyring(&agent("db1"))).await;
    assert!(why.contains("that of the agent of db2 of cluster shop"), "{why}");
    let why = told(&address, "shop", "db1", "db2", None).await;
    assert!(why.contains("the agent of db2"), "{why}");
}

#[tokio::test]
async fn an_agent_does_not_start_where_it_could_not_do_its_work() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("password"), "x").unwrap();
    let text = format!(
        "cluster = \"shop\"\ncontrollers = [ {{ name = \"a\", address = \"127.0.0.1:7601\", sentinel = \"off\" }} ]\n\
         [[mariadb]]\nname = \"orders\"\nusername = \"b\"\npassword_file = \"{}/password\"\n\
         instances = [ {{ name = \"db1\", address = \"127.0.0.1:3306\" }} ]\n",
        folder.path().display()
    );
    let config = Config::parse("backstay.toml", &text).unwrap();
    let options = || AgentOptions {
        rescue: folder.path().join("rescue"),
        ..AgentOptions::new("db1".into(), Address { host: "127.0.0.1".into(), port: 0 })
    };
    let open = async |options: AgentOptions| match Agent::open(&config, options, None).await {
        Ok(_) => None,
        Err(error) => Some(error),
    };
    assert!(open(options()).await.is_none());
    let unknown = open(AgentOptions { instance: "db7".into(), ..options() }).await.unwrap();
    assert!(unknown.to_string().contains("it has db1"), "{unknown}");
    let anybody = Address { host: "0.0.0.0".into(), port: 0 };
    let everywhere = open(AgentOptions { listen: anybody, ..options() }).await.unwrap();
    assert!(matches!(everywhere, AgentError::Open(_)), "{everywhere}");
    let silent = open(AgentOptions { stop: Vec::new(), ..options() }).await.unwrap();
    assert!(silent.to_string().contains("the stop command is empty"), "{silent}");
    let inside = AgentOptions { rescue: "/var/lib/mysql/rescue".into(), ..options() };
    assert!(matches!(open(inside).await, Some(AgentError::Data(..))));
}
