//! How single values are spelled. Every error says what would be right.

use super::Listen;
use cpim::Accepts;
use figment::value::Value;
use ipnet::IpNet;
use sip::transaction::Transport;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;
use tracing_subscriber::filter::Targets;

pub(super) fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "must be text: put it in quotes".to_owned())
}

pub(super) fn flag(value: &Value) -> Result<bool, String> {
    value.to_bool().ok_or_else(|| "must be true or false, without quotes".to_owned())
}

/// A number within `range`.
pub(super) fn count(range: RangeInclusive<usize>) -> impl Fn(&Value) -> Result<usize, String> {
    move |value| {
        value
            .to_i128()
            .or_else(|| value.to_u128().and_then(|number| number.try_into().ok()))
            .and_then(|number| usize::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("must be a number from {} to {}, without quotes", range.start(), range.end()))
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Value) -> Result<T, String> {
    move |value| {
        let found = value.as_str().and_then(|word| words.iter().find(|(known, _)| *known == word));
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            format!("must be {}", known.join(" or "))
        })
    }
}

/// `2s`, `500 ms`, `1.5 min`, within `range`.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Value) -> Result<Duration, String> {
    const UNITS: &[(&str, f64)] = &[("ms", 0.001), ("s", 1.0), ("min", 60.0), ("h", 3600.0), ("d", 86_400.0)];
    move |value| {
        let spelling = || "must be a time: a number with ms, s, min, h or d, as in \"2s\"".to_owned();
        let seconds = value.as_str().and_then(|text| with_unit(text, UNITS)).ok_or_else(spelling)?;
        Duration::try_from_secs_f64(seconds)
            .ok()
            .filter(|duration| range.contains(duration))
            .ok_or_else(|| format!("must be from {} to {}", spelled(*range.start()), spelled(*range.end())))
    }
}

/// A time as an operator would write it.
fn spelled(time: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    match time.as_secs() {
        seconds if seconds > 0 && seconds % DAY == 0 && time.subsec_nanos() == 0 => format!("{}d", seconds / DAY),
        _ => format!("{time:?}"),
    }
}

/// `256 KiB`, `4MiB`, `1000 B`, within `range`.
pub(super) fn size(range: RangeInclusive<usize>) -> impl Fn(&Value) -> Result<usize, String> {
    const UNITS: &[(&str, f64)] = &[("B", 1.0), ("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0)];
    move |value| {
        let spelling = || "must be a size: a number with B, KiB, MiB or GiB, as in \"256 KiB\"".to_owned();
        let bytes = value.as_str().and_then(|text| with_unit(text, UNITS)).ok_or_else(spelling)? as usize;
        if range.contains(&bytes) {
            return Ok(bytes);
        }
        Err(format!("must be from {} B to {} B", range.start(), range.end()))
    }
}

fn with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(known, _)| *known == unit.trim_start()).map(|(_, factor)| factor)?;
    Some(number.parse::<f64>().ok()? * factor)
}

/// A domain name in any spelling, or an IP address (IPv6 in brackets), in the form of the core.
pub(super) fn domain(value: &Value) -> Result<String, String> {
    let wrong = || "must be a domain name such as \"sip.example\"".to_owned();
    let name = cpim::canonical_domain(text(value)?).map_err(|_| wrong())?;
    // RFC 1035 section 2.3.4.
    if name.len() <= 253 { Ok(name.into_owned()) } else { Err(wrong()) }
}

/// A media type, or all subtypes of one.
pub(super) fn media_range(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    match Accepts::new([text]) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A domain, or `*` for any.
pub(super) fn domain_or_any(value: &Value) -> Result<String, String> {
    if value.as_str() == Some("*") { Ok("*".to_owned()) } else { domain(value) }
}

/// `HOST:PORT` with a name or an address.
pub(super) fn host_port(value: &Value) -> Result<String, String> {
    let spelled = text(value)?;
    let address = spelled.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0);
    if address || crate::net::split_host_port(spelled).is_some() {
        return Ok(spelled.to_owned());
    }
    Err("must be HOST:PORT, as in \"proxy.example:5060\" or \"[2001:db8::1]:5060\"".into())
}

/// Where a file or a folder is, or will be.
pub(super) fn path(value: &Value) -> Result<&str, String> {
    text(value).and_then(|path| {
        if path.is_empty() || path.contains('\0') {
            Err("must be a path, as in \"/var/lib/entente\"".into())
        } else {
            Ok(path)
        }
    })
}

/// `ADDRESS:PORT` to listen on.
pub(super) fn address(value: &Value) -> Result<SocketAddr, String> {
    text(value)?.parse().map_err(|_| "must be ADDRESS:PORT, as in \"127.0.0.1:9090\"".to_owned())
}

/// `udp:ADDRESS:PORT` or `tcp:ADDRESS:PORT` to listen on.
pub(super) fn sip_address(value: &Value) -> Result<Listen, String> {
    let wrong = || {
        "must be udp:ADDRESS:PORT or tcp:ADDRESS:PORT, as in \"udp:127.0.0.1:5060\" or \"tcp:[::1]:5060\"".to_owned()
    };
    let (transport, rest) = transport(text(value)?).ok_or_else(wrong)?;
    let address: Option<SocketAddr> = rest.parse().ok();
    // Peers must be able to know the port.
    let address = address.filter(|address| address.port() != 0).ok_or_else(wrong)?;
    Ok(Listen { transport, address })
}

/// `udp:HOST:PORT` or `tcp:HOST:PORT` to send to.
pub(super) fn sip_target(value: &Value) -> Result<(Transport, String), String> {
    let wrong = || "must be udp:HOST:PORT or tcp:HOST:PORT, as in \"udp:proxy.example:5060\"".to_owned();
    let (transport, target) = transport(text(value)?).ok_or_else(wrong)?;
    host_port(&Value::from(target)).map(|target| (transport, target)).map_err(|_| wrong())
}

fn transport(spelled: &str) -> Option<(Transport, &str)> {
    match spelled.split_once(':')? {
        ("udp", rest) => Some((Transport::Udp, rest)),
        ("tcp", rest) => Some((Transport::Tcp, rest)),
        _ => None,
    }
}

/// `192.0.2.0/24` or one address.
pub(super) fn network(value: &Value) -> Result<IpNet, String> {
    let spelled = text(value)?;
    let wrong = || "must be a network such as \"192.0.2.0/24\" or an address".to_owned();
    let net = spelled.parse().or_else(|_| spelled.parse::<IpAddr>().map(IpNet::from)).map_err(|_| wrong())?;
    if net.trunc() == net { Ok(net) } else { Err(format!("has bits behind its prefix: write \"{}\"", net.trunc())) }
}

/// Printable text for a header: no controls, not too long.
pub(super) fn header_text(value: &Value) -> Result<String, String> {
    let spelled = text(value)?;
    if spelled.len() <= 100 && spelled.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Ok(spelled.to_owned());
    }
    Err("must be at most 100 printable ASCII characters".into())
}

/// A level of the log: a word, or words for parts of the program, as in `info,sip=debug`.
pub fn log_level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let legal = |directive: &str| {
        let (part, level) = directive.rsplit_once('=').unwrap_or(("program", directive));
        let named = !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'));
        named && LEVELS.iter().any(|known| level.eq_ignore_ascii_case(known))
    };
    if text.split(',').all(legal) && text.parse::<Targets>().is_ok() {
        return Ok(text.to_owned());
    }
    Err("must be off, error, warn, info, debug or trace, or a list such as \"info,sip=debug\"".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_demanded_and_understood() {
        let window = duration(Duration::from_millis(200)..=Duration::from_millis(3200));
        for (spelled, expected) in [("2s", 2000), ("200 ms", 200), ("3.2s", 3200), ("0.05min", 3000)] {
            assert_eq!(window(&Value::from(spelled)), Ok(Duration::from_millis(expected)), "{spelled}");
        }
        for wrong in ["2", "", "s", "2 m", "-1s", "3.3s", "0.1s", "1..5s", "99999999999999999999h"] {
            assert!(window(&Value::from(wrong)).is_err(), "{wrong}");
        }
        assert!(window(&Value::from(2)).is_err());
        let stanza = size(10_000..=1 << 24);
        for (spelled, expected) in [("256 KiB", 262_144), ("1MiB", 1 << 20), ("10000 B", 10_000), ("0.5 MiB", 1 << 19)]
        {
            assert_eq!(stanza(&Value::from(spelled)), Ok(expected), "{spelled}");
        }
        for wrong in ["256", "256 kb", "9999 B", "1 GiB", "1e3 B"] {
            assert!(stanza(&Value::from(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_and_names() {
        let listen = sip_address(&Value::from("udp:[::1]:5060")).unwrap();
        assert_eq!(listen, Listen { transport: Transport::Udp, address: "[::1]:5060".parse().unwrap() });
        assert_eq!(sip_address(&Value::from("tcp:[::1]:5060")).unwrap().to_string(), "tcp:[::1]:5060");
        assert_eq!(sip_target(&Value::from("udp:proxy:5060")), Ok((Transport::Udp, "proxy:5060".into())));
        assert_eq!(sip_target(&Value::from("tcp:192.0.2.1:5060")), Ok((Transport::Tcp, "192.0.2.1:5060".into())));
        for wrong in ["udp:127.0.0.1:0", "127.0.0.1:5060", "tls:127.0.0.1:5061", "tcp:localhost:5060"] {
            assert!(sip_address(&Value::from(wrong)).is_err(), "{wrong}");
        }
        for wrong in
            ["proxy:5060", "tls:proxy:5061", "tcp:proxy", "udp:proxy", "udp:proxy:0", "udp:192.0.2.1:0", "udp:a b:1"]
        {
            assert!(sip_target(&Value::from(wrong)).is_err(), "{wrong}");
        }
        assert_eq!(network(&Value::from("192.0.2.0/24")).map(|net| net.to_string()).as_deref(), Ok("192.0.2.0/24"));
        assert_eq!(network(&Value::from("::1")).map(|net| net.to_string()).as_deref(), Ok("::1/128"));
        assert!(network(&Value::from("192.0.2.1/24")).is_err_and(|what| what.contains("192.0.2.0/24")));
        assert_eq!(domain(&Value::from("SIP.Example.")).as_deref(), Ok("sip.example"));
        assert_eq!(domain(&Value::from("B\u{fc}cher.example")).as_deref(), Ok("xn--bcher-kva.example"));
        assert_eq!(domain(&Value::from("[2001:DB8::1]")).as_deref(), Ok("[2001:db8::1]"));
        for wrong in ["", "a..b", "-a.example", "a@b", "a b", "sip:a", "xn--.example", "2001:db8::1"] {
            assert!(domain(&Value::from(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn levels_are_words_or_lists_of_them() {
        for right in ["info", "DEBUG", "info,sip=debug", "warn,xmpp::stream=trace,engine=off"] {
            assert_eq!(log_level(right), Ok(right.to_owned()));
        }
        for wrong in ["", "loud", "info,", "sip", "sip=loud", "info;sip=debug"] {
            assert!(log_level(wrong).is_err(), "{wrong}");
        }
    }
}
