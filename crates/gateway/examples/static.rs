//! A gateway in front of one server that never changes, for measurements: `static [--sql] LISTEN TARGET`.

use backstay_gateway::{Endpoint, EndpointKind, Gateway, Listen, Protocol, Settings};
use backstay_lease::Standing;
use backstay_model::{Epoch, Time};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    let protocol = match arguments.next_if(|first| first == "--sql") {
        Some(_) => Protocol::Sql,
        None => Protocol::Redis,
    };
    let (Some(listen), Some(target)) = (arguments.next(), arguments.next()) else {
        return Err("usage: static [--sql] 127.0.0.1:7000 127.0.0.1:6379".into());
    };
    let endpoint = Endpoint {
        listen: vec![Listen::Tcp(listen.parse()?)],
        protocol,
        ..Endpoint::new("static", "static".into(), EndpointKind::Primary)
    };
    let settings = Settings { zone: String::new(), endpoints: vec![endpoint] };
    let gateway = Gateway::start(settings, |_, _| {})?;
    let serve = Standing::Serve { epoch: Epoch(1), primary: target.parse()?, until: Time::MAX };
    gateway.route("static".into(), serve, Vec::new());
    loop {
        std::thread::park();
    }
}
