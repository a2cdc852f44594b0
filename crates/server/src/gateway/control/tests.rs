use super::*;
use crate::gateway::control::counter::{Asked, Desk};
use crate::gateway::control::words::{Request, text};
use backstay_gateway::{Endpoint, EndpointKind, Gateway, Heritage, Listen, Settings};
use backstay_lab::wait::wait_until;
use backstay_model::{Epoch, ServiceName};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);

fn settings(listen: Vec<Listen>) -> Settings {
    let endpoint = Endpoint { listen, ..Endpoint::new("shop", "shop".into(), EndpointKind::Primary) };
    Settings { zone: String::new(), endpoints: vec![endpoint] }
}

fn gateway(listen: Vec<Listen>, heritage: Heritage) -> Gateway {
    Gateway::succeed(settings(listen), heritage, |_: ServiceName, _: Epoch| {}).unwrap()
}

fn free() -> Listen {
    Listen::Tcp("127.0.0.1:0".parse().unwrap())
}

/// Serves a control socket on a thread of its own until `caller` is done.
fn with_desk<T>(folder: &Path, gateway: &Gateway, caller: impl FnOnce(&Path) -> T) -> (T, Vec<Listen>) {
    let name = GatewayName::from("app1");
    let mut control = Control::open(&[folder.to_owned()], &name).unwrap();
    let listener = control.listener().unwrap();
    let (ask, mut asked) = mpsc::channel(1);
    let desk =
        Desk { cluster: "shop".into(), name, look: gateway.look(), pilot: Some(ask), turn: one_turn() };
    std::thread::scope(|scope| {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (mut left, mut stopped) = (Vec::new(), stopped);
                let mut serving = tokio::spawn(desk.serve(listener));
                loop {
                    tokio::select! {
                        biased;
                        Some(asked) = asked.recv() => match asked {
                            Asked::Sockets(give) => gateway.share(move |sockets| drop(give.send(sockets))),
                            Asked::State(give) => give.send(State::Serves).unwrap(),
                            Asked::Leave(sockets) => left = sockets,
                        },
                        _ = &mut stopped => break,
                        _ = &mut serving => panic!("it serves for ever"),
                    }
                }
                left
            })
        });
        let said = caller(&control.path);
        drop(stop);
        (said, server.join().unwrap())
    })
}

fn ask(path: &Path, line: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // It may hang up before it has read all of it.
    let _ = stream.write_all(line);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn the_control_socket_is_for_its_owner_alone_and_goes_with_its_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let name = GatewayName::from("app1");
    let path = folder.path().join("app1.gateway.sock");
    let first = Control::open(&[folder.path().join("missing"), folder.path().to_owned()], &name).unwrap();
    assert_eq!(first.path, folder.path().join("missing/app1.gateway.sock"), "a folder is made");
    let one = Control::open(&[folder.path().to_owned()], &name).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let next = Control::open(&[folder.path().to_owned()], &name).unwrap();
    drop(one);
    assert!(UnixStream::connect(&path).is_ok(), "the next one's socket stays");
    drop(next);
    assert!(!path.exists());
    std::fs::write(&path, "data").unwrap();
    assert!(Control::open(&[folder.path().to_owned()], &name).is_none());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "data");
    assert!(Control::open(&[folder.path().to_owned()], &GatewayName::from("../app1")).is_none());
}

#[test]
fn whatever_is_sent_to_the_control_socket_costs_only_the_connection_that_it_came_on() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(vec![free()], Heritage::default());
    with_desk(folder.path(), &gateway, |path| {
        let mute: Vec<_> = (0..5).map(|_| UnixStream::connect(path).unwrap()).collect();
        let long = vec![b'x'; 1 << 20];
        let deep = [vec![b'['; 60_000], vec![b'\n']].concat();
        for bytes in [&b""[..], b"\n", b"\xff\0\n", b"GET / HTTP/1.1\n", b"\"stats\"", &long, &deep] {
            let said = ask(path, bytes);
            assert!(said.is_empty() || said.contains("error"), "{said}");
        }
        // Nobody is sent away who was not given the sockets before.
        assert!(ask(path, b"{\"serving\":[]}\n").contains("error"));
        assert!(ask(path, b"\"stats\"\n\"slow\"\n").contains("\"shop\""));
        drop(mute);
    });
    assert!(!gateway.has_left());
}

#[test]
fn sockets_are_handed_over_and_their_queue_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.redis");
    let old = gateway(vec![free(), Listen::Unix(file.clone())], Heritage::default());
    let at: Vec<Listen> = old.addresses().iter().map(|it| it.1.clone()).collect();
    let other = free();
    let name = GatewayName::from("app1");
    let (new, left) = with_desk(folder.path(), &old, |_| {
        let Found::Gateway(predecessor, heritage) = find(&[folder.path().to_owned()], &"shop".into(), &name)
        else {
            panic!("it is found");
        };
        assert_eq!(heritage.sockets.len(), 2);
        let stranger = find(&[folder.path().to_owned()], &"another".into(), &name);
        assert!(matches!(stranger, Found::Stranger));
        let new = gateway([at.clone(), vec![other]].concat(), heritage);
        assert_eq!(new.inherited(), at);
        let mut stream = predecessor.stream;
        let places = new.inherited().iter().map(Into::into).collect();
        stream.write_all(&text(&Request::Serving(places))).unwrap();
        let mut answer = [0; 9];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, *b"\"leaves\"\n");
        new.take_over();
        new
    });
    assert_eq!(left, at);
    old.hand_over(LIMIT, at.clone());
    let Listen::Tcp(address) = at[0] else { panic!("TCP comes first") };
    for _ in 0..50 {
        let mut tcp = std::net::TcpStream::connect(address).unwrap();
        let mut unix = UnixStream::connect(&file).unwrap();
        tcp.set_read_timeout(Some(LIMIT)).unwrap();
        unix.set_read_timeout(Some(LIMIT)).unwrap();
        for client in [&mut tcp as &mut dyn ReadWrite, &mut unix] {
            client.write_all(b"CLIENT ID\r\n").unwrap();
            let mut reply = [0; 64];
            assert!(client.read(&mut reply).unwrap() > 0);
        }
    }
    old.stop(LIMIT);
    assert!(UnixStream::connect(&file).is_ok(), "the file stays");
    new.stop(Duration::ZERO);
    assert!(!file.exists());
}

/// One who is given what another one listens at.
fn heir_of(old: &Gateway) -> Gateway {
    let (give, given) = std::sync::mpsc::channel();
    old.share(move |sockets| give.send(sockets).unwrap());
    let sockets = given.recv_timeout(LIMIT).unwrap();
    assert_eq!(sockets.len(), old.addresses().len());
    let listen = sockets.iter().map(|it| it.0.clone()).collect();
    gateway(listen, Heritage { sockets, replaces: false })
}

/// Whether a gateway accepts there.
fn is_served(file: &Path) -> bool {
    let Ok(mut client) = UnixStream::connect(file) else {
        return false;
    };
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client.write_all(b"CLIENT ID\r\n").unwrap();
    client.read(&mut [0; 64]).is_ok_and(|read| read > 0)
}

#[test]
fn a_unix_socket_that_its_first_gateway_removed_has_a_file_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.redis");
    let old = gateway(vec![Listen::Unix(file.clone())], Heritage::default());
    let new = heir_of(&old);
    // By itself, and not because of the new one.
    old.stop(Duration::ZERO);
    assert!(!file.exists());
    new.take_over();
    wait_until("the file", LIMIT, || is_served(&file).then_some(())).unwrap();
    // The socket without a file is nothing to inherit.
    let next = heir_of(&new);
    next.take_over();
    new.hand_over(LIMIT, next.inherited().to_vec());
    wait_until("the second one's end", LIMIT, || new.has_left().then_some(())).unwrap();
    assert!(is_served(&file));
    next.stop(Duration::ZERO);
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing is left");
}

#[test]
fn a_successor_that_gives_up_leaves_the_unix_socket_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.redis");
    let old = gateway(vec![Listen::Unix(file.clone())], Heritage::default());
    heir_of(&old).stop(Duration::ZERO);
    assert!(is_served(&file));
}

#[test]
fn sockets_are_lent_to_one_successor_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(vec![free()], Heritage::default());
    let look = || find(&[folder.path().to_owned()], &"shop".into(), &"app1".into());
    with_desk(folder.path(), &gateway, |_| {
        let Found::Gateway(first, _) = look() else { panic!("it is found") };
        assert!(matches!(look(), Found::Busy));
        drop(first);
        let lent = || match look() {
            Found::Gateway(second, _) => Some(second),
            Found::Busy => None,
            _ => panic!("it is there"),
        };
        let mut second = wait_until("its turn", LIMIT, lent).unwrap().stream;
        second.write_all(b"{\"serving\":[]}\n\"state\"\n").unwrap();
        let mut answers = [0; 9];
        second.read_exact(&mut answers).unwrap();
        assert_eq!(answers, *b"\"leaves\"\n");
        drop(second);
        // It leaves: there is nothing to be had here any more, and soon somebody else to ask.
        assert!(matches!(look(), Found::Busy));
    });
}

/// Somebody at the control socket who answers each of these to one caller, and hangs up.
fn impostor(folder: &Path, answers: Vec<Vec<u8>>) -> std::thread::JoinHandle<()> {
    let mut control = Control::open(&[folder.to_owned()], &"app1".into()).unwrap();
    let listener = control.listener().unwrap();
    listener.set_nonblocking(false).unwrap();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
            stream.write_all(&answer).unwrap();
        }
        drop(control);
    })
}

#[test]
fn who_answers_without_sense_or_hangs_up_is_left_alone_and_not_taken_for_one_that_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let look = || find(&[folder.path().to_owned()], &"shop".into(), &"app1".into());
    for answer in [
        "{\"sockets\":{\"at\":[],\"state\":\"dances\"}}\n",
        "{\"sockets\":{\"at\":[{\"unix\":\"/shop\"}],\"state\":\"serves\"}}\n",
        "{\"later\":1}\n",
        "{\"error\":\"no\"}\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "\u{7f}\n",
    ] {
        let impostor = impostor(folder.path(), vec![answer.into()]);
        assert!(matches!(look(), Found::Stranger), "{answer}");
        impostor.join().unwrap();
    }
    let hangs_up = impostor(folder.path(), vec![Vec::new(), b"\"sock".to_vec()]);
    assert!(matches!(look(), Found::Stranger));
    hangs_up.join().unwrap();
    let ends = impostor(folder.path(), vec![Vec::new()]);
    assert!(matches!(look(), Found::Nobody), "who hangs up and is gone");
    ends.join().unwrap();
}

#[test]
fn a_gateway_within_a_controller_leaves_another_ones_control_socket_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (folders, name) =
        ([folder.path().join("missing"), folder.path().to_owned()], GatewayName::from("app1"));
    let alone = Control::open(&folders[1..], &name).unwrap();
    assert!(Control::open_beside(&folders, &name).is_none());
    assert_eq!(identity(&alone.path), alone.identity);
    drop(alone);
    let inside = Control::open_beside(&folders[1..], &name).unwrap();
    assert!(UnixStream::connect(&inside.path).is_ok());
}

/// A predecessor, as its pilot answers, and who follows it.
struct Scene {
    folder: tempfile::TempDir,
    desk: Desk,
    asked: mpsc::Receiver<Asked>,
    gateway: Gateway,
}

impl Scene {
    fn new() -> Self {
        let gateway = gateway(vec![free()], Heritage::default());
        let (ask, asked) = mpsc::channel(1);
        let (cluster, name) = ("shop".into(), "app1".into());
        let desk = Desk { cluster, name, look: gateway.look(), pilot: Some(ask), turn: one_turn() };
        Self { folder: tempfile::tempdir().unwrap(), desk, asked, gateway }
    }

    /// Answers so many questions in this way, or those that come until the successor has decided.
    async fn answer(&mut self, state: State, questions: usize) -> Option<Vec<Listen>> {
        for _ in 0..questions {
            match self.asked.recv().await.unwrap() {
                Asked::Sockets(give) => self.gateway.share(move |sockets| drop(give.send(sockets))),
                Asked::State(give) => give.send(state).unwrap(),
                Asked::Leave(sockets) => return Some(sockets),
            }
        }
        None
    }

    fn serve(&self) -> (Control, tokio::task::JoinHandle<()>) {
        let mut control = Control::open(&[self.folder.path().to_owned()], &"app1".into()).unwrap();
        let serving = tokio::spawn(self.desk.clone().serve(control.listener().unwrap()));
        (control, serving)
    }

    async fn follow(&mut self, serves: &watch::Sender<bool>) -> tokio::task::JoinHandle<(Way, Claim)> {
        let folders = vec![self.folder.path().to_owned()];
        let looked = folders.clone();
        let found = tokio::task::spawn_blocking(move || find(&looked, &"shop".into(), &"app1".into()));
        self.answer(State::Serves, 2).await;
        let Found::Gateway(predecessor, heritage) = found.await.unwrap() else { panic!("it is found") };
        let succession = Succession {
            cluster: "shop".into(),
            name: "app1".into(),
            folders,
            inherited: heritage.sockets.into_iter().map(|it| it.0).collect(),
            serves: serves.subscribe(),
            // It has waited for its leases for long enough.
            since: tokio::time::Instant::now().checked_sub(LIMIT).unwrap(),
        };
        tokio::spawn(succession.run(predecessor))
    }
}

#[tokio::test]
async fn a_successor_without_leases_waits_while_its_predecessor_serves() {
    for becomes in [None, Some(State::Waits), Some(State::Leaves)] {
        let mut scene = Scene::new();
        let (_control, _serving) = scene.serve();
        let serves = watch::Sender::new(false);
        let succession = scene.follow(&serves).await;
        assert_eq!(scene.answer(State::Serves, 5).await, None);
        assert!(!succession.is_finished());
        match becomes {
            None => drop(serves.send_replace(true)),
            Some(state) => assert_eq!(scene.answer(state, 1).await, None),
        }
        let state = becomes.unwrap_or(State::Serves);
        let left = timeout(LIMIT, scene.answer(state, usize::MAX)).await.unwrap().unwrap();
        assert_eq!(left, [scene.gateway.addresses()[0].1.clone()]);
        assert_eq!(timeout(LIMIT, succession).await.unwrap().unwrap().0, Way::Free);
    }
}

#[tokio::test]
async fn a_successor_whose_predecessor_hung_up_looks_again_who_is_there() {
    let mut scene = Scene::new();
    let (first, serving) = scene.serve();
    let serves = watch::Sender::new(false);
    let succession = scene.follow(&serves).await;
    // Another gateway has taken its place meanwhile.
    let (second, next_serving) = scene.serve();
    serving.abort();
    assert_eq!(timeout(LIMIT, scene.answer(State::Serves, 6)).await.unwrap(), None);
    assert!(!succession.is_finished());
    // And that one is gone.
    drop((first, second));
    next_serving.abort();
    let way = tokio::select! {
        way = succession => way.unwrap().0,
        _ = scene.answer(State::Serves, usize::MAX) => panic!("nobody is told to leave"),
    };
    assert_eq!(way, Way::Free);
}

#[tokio::test]
async fn a_predecessor_that_hangs_is_told_for_when_it_wakes_up() {
    let mut scene = Scene::new();
    let (_control, _serving) = scene.serve();
    let serves = watch::Sender::new(false);
    let succession = scene.follow(&serves).await;
    // Its pilot answers nobody.
    assert_eq!(timeout(LIMIT, succession).await.unwrap().unwrap().0, Way::Free);
    let left = timeout(LIMIT, scene.answer(State::Serves, usize::MAX)).await.unwrap();
    assert!(left.is_some());
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

#[test]
fn the_unix_socket_of_a_gateway_that_hangs_is_replaced_and_never_removed_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.redis");
    let old = gateway(vec![Listen::Unix(file.clone())], Heritage::default());
    // Somebody is at the control socket, and says nothing.
    let mute = Control::open(&[folder.path().to_owned()], &GatewayName::from("app1")).unwrap();
    let found = find(&[folder.path().to_owned()], &"shop".into(), &GatewayName::from("app1"));
    assert!(matches!(found, Found::Silent));
    drop(mute);
    let heritage = Heritage { sockets: Vec::new(), replaces: true };
    let new = gateway(vec![Listen::Unix(file.clone())], heritage);
    old.stop(Duration::ZERO);
    assert!(UnixStream::connect(&file).is_ok());
    new.stop(Duration::ZERO);
    assert!(!file.exists());
    let nobody = find(&[folder.path().to_owned()], &"shop".into(), &GatewayName::from("app1"));
    assert!(matches!(nobody, Found::Nobody));
}

#[tokio::test]
async fn who_looks_waits_until_nobody_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let (folders, name) = (vec![folder.path().join("made"), folder.path().to_owned()], "app1".into());
    let first = Claim::lay(&folders, &name).await;
    assert!(timeout(Duration::from_millis(50), Claim::lay(&folders, &name)).await.is_err());
    // Of another name: it has nothing to do with this one.
    timeout(LIMIT, Claim::lay(&folders, &"app2".into())).await.unwrap();
    drop(first);
    timeout(LIMIT, Claim::lay(&folders, &name)).await.unwrap();
    // A link leads nowhere, and without a folder there is nothing to wait for.
    std::os::unix::fs::symlink(folder.path().join("target"), folder.path().join("app3.gateway.lock"))
        .unwrap();
    timeout(LIMIT, Claim::lay(&folders[1..], &"app3".into())).await.unwrap();
    assert!(!folder.path().join("target").exists());
}

/// Where `listens_as_another_user` shall listen.
const ELSEWHERE: &str = "BACKSTAY_TEST_SOCKET";
const NOBODY: u32 = 65534;

#[test]
#[ignore = "run by another test, as another user"]
fn listens_as_another_user() {
    let Some(path) = std::env::var_os(ELSEWHERE) else { return };
    let listener = UnixListener::bind(path).unwrap();
    // Until the test hangs up.
    let _ = io::stdin().read(&mut [0]);
    drop(listener);
}

#[test]
fn another_users_control_socket_is_left_alone_by_root_too() {
    if !is_root() {
        eprintln!("only root can be another user");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let (name, path) = (GatewayName::from("app1"), folder.path().join("app1.gateway.sock"));
    let mut other = Command::new("/proc/self/exe")
        .args(["--ignored", "--exact", "gateway::control::tests::listens_as_another_user"])
        .env(ELSEWHERE, &path)
        .uid(NOBODY)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the socket of another user", LIMIT, || UnixStream::connect(&path).ok()).unwrap();
    let folders = [folder.path().to_owned()];
    assert!(matches!(find(&folders, &"shop".into(), &name), Found::Stranger));
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
    // It left its file behind, as one that is killed does.
    assert!(path.exists() && matches!(find(&folders, &"shop".into(), &name), Found::Nobody));
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}
