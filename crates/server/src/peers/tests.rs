//! Two ends that shake hands over a real socket: what each says when the other is not who it should be.

use super::dial::introduce;
use super::frames::append;
use super::listen::meet;
use super::{Caller, GatewayLetter, Mesh, gateways};
use crate::tls::issue::{self, Dates, Issued};
use crate::tls::{Files, Identity, Keyring, Right};
use backstay_model::{Address, ControllerSpec, GatewayOrders, GatewayReport, UnixMicros};
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);

/// One authority and its folder.
struct Desk {
    folder: TempDir,
    authority: Issued,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = issue::authority("shop", Dates::from_now(10)).unwrap();
        fs::write(folder.path().join("authority.pem"), &authority.certificate).unwrap();
        Self { folder, authority }
    }

    /// Files with a certificate of this authority.
    fn files(&self, identity: &Identity, dates: Dates) -> Files {
        let issued = issue::certificate(&self.authority, identity, &[], dates).unwrap();
        let own = ["pem", "key"].map(|end| self.folder.path().join(format!("own.{end}")));
        fs::write(&own[0], issued.certificate).unwrap();
        fs::write(&own[1], issued.key).unwrap();
        let [certificate, key] = own;
        Files { authority: self.folder.path().join("authority.pem"), own: Some((certificate, key)) }
    }

    fn keyring(&self, name: &str) -> Keyring {
        Keyring::open(self.files(&node("shop", name), Dates::from_now(10)), node("shop", name)).unwrap()
    }

    /// A keyring that no controller could open: with somebody else's certificate, or one that is not in force.
    fn bad(&self, identity: &Identity, dates: Dates) -> Keyring {
        Keyring::open_unchecked(&self.files(identity, dates), node("shop", "b")).unwrap()
    }
}

fn node(cluster: &str, name: &str) -> Identity {
    Identity::Node { cluster: cluster.into(), name: name.into() }
}

fn ago(days: u64) -> UnixMicros {
    UnixMicros(crate::clock::now().unix.0 - days * 86_400_000_000)
}

fn ahead(days: u64) -> UnixMicros {
    UnixMicros(crate::clock::now().unix.0 + days * 86_400_000_000)
}

fn mesh(me: Caller, other: &str, port: u16, keyring: Option<Keyring>) -> Mesh {
    let other = ControllerSpec {
        name: other.into(),
        address: Address { host: "127.0.0.1".into(), port },
        site: String::new(),
        zone: String::new(),
    };
    Mesh {
        cluster: "shop".into(),
        me,
        others: vec![other],
        keyring: keyring.map(Arc::new),
        version_max: backstay_consensus::VERSION,
    }
}

/// What happens when `caller`, who takes itself for controller b, calls `callee`, who is a: what each of them says, or
/// nothing.
async fn call(caller: Option<Keyring>, callee: Option<Keyring>) -> (Option<String>, Option<String>) {
    call_as(Caller::Controller("b".into()), caller, callee).await
}

async fn call_as(
    who: Caller,
    caller: Option<Keyring>,
    callee: Option<Keyring>,
) -> (Option<String>, Option<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (a, b) = (mesh(Caller::Controller("a".into()), "b", 0, callee), mesh(who.clone(), "a", port, caller));
    let accepting = async {
        let (stream, _) = listener.accept().await.unwrap();
        match meet(&a, &"a".into(), stream).await {
            Ok((peer, stream, _)) => {
                assert_eq!(peer, who);
                (Some(stream), None)
            }
            Err(why) => (None, Some(why.to_string())),
        }
    };
    let both = async { tokio::join!(introduce(&b, &b.others[0]), accepting) };
    let (dialled, (_stream, refused)) = timeout(LIMIT, both).await.unwrap();
    (dialled.err().map(|lost| lost.to_string()), refused)
}

fn says(what: Option<&String>, part: &str) {
    assert!(what.is_some_and(|what| what.contains(part)), "{part}: {what:?}");
}

#[tokio::test]
async fn two_controllers_of_one_authority_meet() {
    let desk = Desk::new();
    let a = desk.keyring("a");
    assert_eq!(call(Some(desk.keyring("b")), Some(a)).await, (None, None));
    assert_eq!(call(None, None).await, (None, None));
}

#[tokio::test]
async fn a_gateway_proves_its_own_name_or_that_of_the_controller_it_is_part_of() {
    let desk = Desk::new();
    let app = |name: &str| Caller::Gateway(name.into());
    let gateway = Identity::Gateway { cluster: "shop".into(), name: "app1".into() };
    let bad = |identity: &Identity| Some(desk.bad(identity, Dates::from_now(10)));
    let a = || Some(desk.keyring("a"));
    assert_eq!(call_as(app("app1"), None, None).await, (None, None));
    let keyring = a();
    assert_eq!(call_as(app("app1"), bad(&gateway), keyring).await, (None, None));
    let keyring = a();
    assert_eq!(call_as(app("b"), bad(&node("shop", "b")), keyring).await, (None, None));
    for (who, identity) in [
        (app("app2"), gateway.clone()),
        (Caller::Controller("app1".into()), gateway.clone()),
        (app("app1"), node("shop", "b")),
    ] {
        let keyring = a();
        let (caller, callee) = call_as(who, bad(&identity), keyring).await;
        says(caller.as_ref(), "the caller's certificate is somebody else's");
        says(callee.as_ref(), "the caller's certificate is somebody else's");
    }
}

#[test]
fn a_gateway_of_its_own_can_use_the_certificate_that_is_made_for_it() {
    let desk = Desk::new();
    let gateway = Identity::Gateway { cluster: "shop".into(), name: "app1".into() };
    let files = desk.files(&gateway, Dates::from_now(10));
    assert!(Keyring::open(files.clone(), gateway).is_ok());
    let other = Identity::Gateway { cluster: "shop".into(), name: "app2".into() };
    assert!(Keyring::open(files.clone(), other.clone()).is_err());
    // Another authority's.
    fs::write(desk.folder.path().join("authority.pem"), Desk::new().authority.certificate).unwrap();
    let refused = Keyring::open(files, other).unwrap_err().to_string();
    assert!(refused.contains("was not made by the authority"), "{refused}");
}

#[tokio::test]
async fn an_agent_proves_whose_it_is() {
    let desk = Desk::new();
    let agent = Identity::Agent { cluster: "shop".into(), name: "db1".into() };
    let bad = || Some(desk.bad(&agent, Dates::from_now(10)));
    let keyring = Some(desk.keyring("a"));
    assert_eq!(call_as(Caller::Agent("db1".into()), bad(), keyring).await, (None, None));
    for who in [Caller::Agent("db2".into()), Caller::Gateway("db1".into()), Caller::Controller("db1".into())]
    {
        let (caller, _) = call_as(who, bad(), Some(desk.keyring("a"))).await;
        says(caller.as_ref(), "the caller's certificate is somebody else's");
    }
}

#[tokio::test]
async fn a_caller_of_another_authority_is_refused_and_both_say_so() {
    let (desk, other) = (Desk::new(), Desk::new());
    let (caller, callee) = call(Some(other.keyring("b")), Some(desk.keyring("a"))).await;
    // The caller does not believe the one it called, either, and says so first.
    says(caller.as_ref(), "its certificate was made by another authority");
    says(callee.as_ref(), "does not accept this side's certificate, because another authority made it");
    // One that believes everybody is still not believed.
    fs::copy(desk.folder.path().join("authority.pem"), other.folder.path().join("authority.pem")).unwrap();
    let gullible = other.bad(&node("shop", "b"), Dates::from_now(10));
    let (caller, callee) = call(Some(gullible), Some(desk.keyring("a"))).await;
    says(caller.as_ref(), "does not accept this side's certificate, because another authority made it");
    says(callee.as_ref(), "its certificate was made by another authority");
}

#[tokio::test]
async fn a_certificate_past_or_before_its_date_is_refused_and_both_say_so() {
    let desk = Desk::new();
    let past = Dates { not_before: ago(9), not_after: ago(1) };
    let a = desk.keyring("a");
    let (caller, callee) = call(Some(desk.bad(&node("shop", "b"), past)), Some(a)).await;
    says(caller.as_ref(), "holds this side's certificate to be expired or not yet valid");
    says(callee.as_ref(), "its certificate expired on");
    let future = Dates { not_before: ahead(1), not_after: ahead(9) };
    let a = desk.keyring("a");
    let (_, callee) = call(Some(desk.bad(&node("shop", "b"), future)), Some(a)).await;
    says(callee.as_ref(), "its certificate is valid only from");
    let b = desk.keyring("b");
    let (caller, callee) = call(Some(b), Some(desk.bad(&node("shop", "a"), past))).await;
    says(caller.as_ref(), "its certificate expired on");
    says(callee.as_ref(), "holds this side's certificate to be expired");
}

#[tokio::test]
async fn a_certificate_of_another_name_cluster_or_kind_is_refused() {
    let desk = Desk::new();
    let dates = Dates::from_now(10);
    let a = || desk.keyring("a");
    let callee = a();
    let (caller, callee) = call(Some(desk.bad(&node("shop", "c"), dates)), Some(callee)).await;
    says(caller.as_ref(), "the caller's certificate is somebody else's");
    says(callee.as_ref(), "the caller's certificate is somebody else's");
    let callee = a();
    let (caller, callee) = call(Some(desk.bad(&node("another", "b"), dates)), Some(callee)).await;
    says(caller.as_ref(), "that of another cluster");
    says(callee.as_ref(), "that of controller b of cluster another, and one of cluster shop is needed");
    let client = Identity::Client { cluster: "shop".into(), name: "b".into(), right: Right::Operate };
    let callee = a();
    let (caller, callee) = call(Some(desk.bad(&client, dates)), Some(callee)).await;
    says(caller.as_ref(), "does not accept this side's certificate");
    says(callee.as_ref(), "that of the client b of cluster shop, and a controller's is needed");
    // The one who was called is somebody else.
    let b = desk.keyring("b");
    let (caller, _) = call(Some(b), Some(desk.bad(&node("shop", "c"), dates))).await;
    says(
        caller.as_ref(),
        "that of controller c of cluster shop, and that of controller a of cluster shop is needed",
    );
}

#[tokio::test]
async fn one_end_without_tls_is_named_by_both() {
    let desk = Desk::new();
    let (caller, callee) = call(None, Some(desk.keyring("a"))).await;
    says(caller.as_ref(), "it speaks TLS and this controller does not");
    says(callee.as_ref(), "it does not speak TLS");
    let (caller, callee) = call(Some(desk.keyring("b")), None).await;
    says(caller.as_ref(), "if its file has no [tls], give all nodes the same file");
    says(callee.as_ref(), "it speaks TLS and this controller does not");
}

#[tokio::test]
async fn a_letter_of_another_version_ends_the_connection_with_a_reason_on_both_sides() {
    // A report to which a later version has added a field.
    let report = GatewayReport { number: 1, ..GatewayReport::default() };
    let letter = (GatewayLetter { process: 1, report }, true);
    let (mut gateway, controller) = tokio::io::duplex(1 << 16);
    let (incoming, _heard) = mpsc::channel(8);
    let attending = gateways::attend::<GatewayLetter>("app1".into(), Box::new(controller), incoming);
    let mut bytes = Vec::new();
    append(&mut bytes, &letter).unwrap();
    gateway.write_all(&bytes).await.unwrap();
    let ended = timeout(LIMIT, attending).await.unwrap();
    says(
        ended.err().map(|error| error.to_string()).as_ref(),
        "run the same version of Backstay on both sides",
    );

    let (gateway, mut controller) = tokio::io::duplex(1 << 16);
    let letters = watch::Sender::new(letter.0);
    let (said, _orders) = mpsc::channel(8);
    let mut bytes = Vec::new();
    let orders = GatewayOrders { answers: None, lease: Duration::ZERO, services: Vec::new() };
    append(&mut bytes, &(orders, true)).unwrap();
    controller.write_all(&bytes).await.unwrap();
    let mut reading = letters.subscribe();
    let lost = timeout(LIMIT, gateways::talk(Box::new(gateway), &mut reading, &said)).await.unwrap();
    says(Some(lost.to_string()).as_ref(), "run the same version of Backstay on both sides");
    drop(letters);
}
