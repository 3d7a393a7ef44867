//! TLS on the listener: what is spoken, whom it lets in, and how its certificate changes.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use reqwest::header::{CONNECTION, SET_COOKIE, STRICT_TRANSPORT_SECURITY};
use reqwest::{Certificate, Identity};

use crate::support::certificate::{Authority, Issued};
use crate::support::daemon::{Daemon, Home};
use crate::support::program::{command, find};
use crate::support::wait::{LIMIT, eventually, until};

const CERTIFICATE: &str = "KEYWHEEL_SERVER__TLS_CERTIFICATE_FILE";
const KEY: &str = "KEYWHEEL_SERVER__TLS_KEY_FILE";
const CLIENT_CA: &str = "KEYWHEEL_SERVER__TLS_CLIENT_CA_FILE";
const GAUGE: &str = "keywheel_config_last_reload_successful";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A service with this certificate.
fn serve(home: &Home, issued: &Issued) -> Daemon {
    home.serve_with(&[
        (CERTIFICATE, text(&issued.certificate)),
        (KEY, text(&issued.key)),
    ])
}

/// A client that trusts one authority, and perhaps shows a certificate.
fn client(authority: &Authority, shown: Option<&Issued>) -> reqwest::Client {
    let trusted = Certificate::from_pem(&authority.pem()).unwrap();
    let mut client = reqwest::Client::builder().tls_certs_only([trusted]);
    if let Some(shown) = shown {
        let mut pem = fs::read(&shown.key).unwrap();
        pem.extend(fs::read(&shown.certificate).unwrap());
        client = client.identity(Identity::from_pem(&pem).unwrap());
    }
    client.build().unwrap()
}

/// The status of an open route; an error if no connection came about.
async fn alive(client: &reqwest::Client, daemon: &Daemon) -> reqwest::Result<u16> {
    let answer = client.get(format!("{}/healthz", daemon.url)).send().await?;
    Ok(answer.status().as_u16())
}

async fn await_gauge(client: &reqwest::Client, daemon: &Daemon, value: u8) {
    until(&format!("{GAUGE} is {value}"), async || {
        let answer = client.get(format!("{}/metrics", daemon.url)).send().await;
        let metrics = answer.unwrap().text().await.unwrap();
        metrics
            .lines()
            .any(|line| line == format!("{GAUGE} {value}"))
            .then_some(())
    })
    .await;
}

/// Puts a certificate where another is, as a renewal does: each file at once, by its name.
fn replace(old: &Issued, new: &Issued) {
    for (new, old) in [(&new.certificate, &old.certificate), (&new.key, &old.key)] {
        let beside = old.with_extension("new");
        fs::copy(new, &beside).unwrap();
        fs::rename(&beside, old).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_spoken_and_nothing_else() {
    let home = Home::new();
    let authority = Authority::new(home.path(), "ca");
    let stranger = Authority::new(home.path(), "stranger");
    let daemon = serve(&home, &authority.service("service", 30));
    assert!(daemon.url.starts_with("https://127.0.0.1:"));
    let credentials = fs::read_to_string(home.data("admin-credentials.toml")).unwrap();
    assert!(credentials.contains(&format!("url = \"{}\"", daemon.url)));

    let http = client(&authority, None);
    assert_eq!(alive(&http, &daemon).await.unwrap(), 200);
    assert!(alive(&client(&stranger, None), &daemon).await.is_err());
    let sign_in = "/BeyondTrust/api/public/v3/Auth/SignAppin";
    let key = format!("PS-Auth key={}; runas=admin;", home.keys().1);
    let answer = http
        .post(format!("{}{sign_in}", daemon.url))
        .header("Authorization", key)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let cookie = answer.headers()[SET_COOKIE].to_str().unwrap();
    assert!(cookie.ends_with("; HttpOnly; Secure"));
    assert!(answer.headers().contains_key(STRICT_TRANSPORT_SECURITY));

    // Plain HTTP learns where it is, and nothing that it asked for.
    let plain = daemon.url.replace("https://", "http://");
    let answer = http
        .post(format!("{plain}{sign_in}"))
        .body("x".repeat(50_000))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.headers()[CONNECTION], "close");
    assert!(!answer.headers().contains_key(SET_COOKIE));
    let said = answer.text().await.unwrap();
    assert_eq!(said, "This port speaks HTTPS: use https://");
    // What is neither ends, too.
    let address = daemon.url.trim_start_matches("https://");
    let mut noise = std::net::TcpStream::connect(address).unwrap();
    noise.set_read_timeout(Some(LIMIT)).unwrap();
    noise.write_all(&[0_u8; 512]).unwrap();
    let mut said = Vec::new();
    match noise.read_to_end(&mut said) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    assert!(!String::from_utf8_lossy(&said).contains("HTTP"), "{said:?}");
    assert_eq!(alive(&http, &daemon).await.unwrap(), 200);
    assert_eq!(daemon.stop(), 0);
}

/// What `openssl s_client` says of a version of TLS.
fn handshake(daemon: &Daemon, version: &str) -> (bool, String) {
    let address = daemon.url.trim_start_matches("https://");
    let output = command(find("openssl", "openssl"))
        // Or the client itself would not offer the old version.
        .args(["s_client", "-connect", address, version])
        .args(["-cipher", "DEFAULT@SECLEVEL=0"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.success(), said)
}

#[test]
fn no_version_below_1_2_is_spoken() {
    let home = Home::new();
    let authority = Authority::new(home.path(), "ca");
    let daemon = serve(&home, &authority.service("service", 30));
    for version in ["-tls1", "-tls1_1"] {
        let (done, said) = handshake(&daemon, version);
        assert!(!done && said.contains("Cipher is (NONE)"), "{said}");
        assert!(said.contains("SSL alert number"), "{said}");
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let (done, said) = handshake(&daemon, version);
        assert!(done && said.contains("CN = service"), "{said}");
    }
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_show_a_certificate_where_that_is_asked_for() {
    let home = Home::new();
    let authority = Authority::new(home.path(), "ca");
    let clients = Authority::new(home.path(), "clients");
    let issued = authority.service("service", 30);
    let daemon = home.serve_with(&[
        (CERTIFICATE, text(&issued.certificate)),
        (KEY, text(&issued.key)),
        (CLIENT_CA, text(&clients.certificate())),
    ]);
    let right = clients.client("right");
    let wrong = authority.client("wrong");
    let not_for_clients = clients.service("server-alone", 30);
    assert!(alive(&client(&authority, None), &daemon).await.is_err());
    for refused in [&wrong, &not_for_clients] {
        let http = client(&authority, Some(refused));
        assert!(alive(&http, &daemon).await.is_err());
    }
    let http = client(&authority, Some(&right));
    assert_eq!(alive(&http, &daemon).await.unwrap(), 200);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_over_and_kept_connections_go_on() {
    let home = Home::new();
    let authorities = ["one", "two", "three"].map(|name| Authority::new(home.path(), name));
    let [one, two, three] = &authorities;
    let issued = one.service("service", 30);
    let daemon = serve(&home, &issued);
    let kept = client(one, None);
    assert_eq!(alive(&kept, &daemon).await.unwrap(), 200);
    let taken = |count: usize| {
        let said = daemon.said();
        (said.matches("a certificate was taken").count() == count).then_some(())
    };

    // By its files alone.
    replace(&issued, &two.service("second", 30));
    eventually("the new files are taken", || taken(2));
    // A new handshake of the first client would fail: it does not trust this certificate.
    assert!(alive(&client(one, None), &daemon).await.is_err());
    assert_eq!(alive(&kept, &daemon).await.unwrap(), 200);
    assert_eq!(alive(&client(two, None), &daemon).await.unwrap(), 200);

    // By a signal, at once.
    replace(&issued, &three.service("third", 30));
    daemon.signal("HUP");
    daemon.await_said("the settings were reloaded");
    assert_eq!(alive(&client(three, None), &daemon).await.unwrap(), 200);
    assert!(alive(&client(two, None), &daemon).await.is_err());
    assert_eq!(alive(&kept, &daemon).await.unwrap(), 200);
    await_gauge(&kept, &daemon, 1).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_new_certificate_keeps_the_old_one() {
    let home = Home::new();
    let authority = Authority::new(home.path(), "ca");
    let issued = authority.service("service", 30);
    let [another, good] = ["another", "good"].map(|name| authority.service(name, 30));
    let daemon = serve(&home, &issued);
    let works = async || alive(&client(&authority, None), &daemon).await.unwrap();
    let kept = client(&authority, None);

    // Somebody else's key, found by looking; then no key at all, at a signal.
    fs::copy(&another.key, &issued.key).unwrap();
    daemon.await_said("the certificate was not reloaded; the old one holds");
    daemon.await_said("does not belong to the certificate");
    assert_eq!(works().await, 200);
    await_gauge(&kept, &daemon, 0).await;
    fs::write(&issued.key, "nonsense").unwrap();
    daemon.signal("HUP");
    daemon.await_said("the settings were not reloaded; the old ones hold");
    daemon.await_said("holds no private key");
    assert!(!daemon.said().contains("nonsense"));
    assert_eq!(works().await, 200);
    await_gauge(&kept, &daemon, 0).await;

    // Settings with a fault, in the meantime, are not forgiven by a certificate without one.
    let settings = home.data("keywheel.toml");
    fs::write(&settings, "[log]\nlevel = \"loud\"\n").unwrap();
    daemon.signal("HUP");
    daemon.await_said("must be error, warn");
    replace(&issued, &good);
    eventually("the good files are taken", || {
        let said = daemon.said();
        (said.matches("a certificate was taken").count() == 2).then_some(())
    });
    await_gauge(&kept, &daemon, 0).await;
    fs::write(&settings, "").unwrap();
    daemon.signal("HUP");
    await_gauge(&kept, &daemon, 1).await;
    assert_eq!(works().await, 200);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn files_that_do_not_fit_keep_the_service_from_starting() {
    let home = Home::new();
    let authority = Authority::new(home.path(), "ca");
    let [issued, another] = ["service", "another"].map(|name| authority.service(name, 30));
    let refused = |certificate: &Path, key: &Path, words: &str| {
        let files = [(CERTIFICATE, text(certificate)), (KEY, text(key))];
        let ended = home.run_with(&["serve", "--listen", "127.0.0.1:0"], &files);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains(words), "{ended:?}");
        let doctor = home.run_with(&["doctor"], &files);
        assert_eq!(doctor.code, Some(1), "{doctor:?}");
        // The table breaks lines.
        let told = doctor.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains("certificate"), "{doctor:?}");
    };
    refused(
        &issued.certificate,
        &another.key,
        "does not belong to the certificate",
    );
    refused(&issued.key, &issued.key, "holds no certificates");
    let empty = home.path().join("empty.key");
    fs::write(&empty, "").unwrap();
    fs::set_permissions(&empty, fs::Permissions::from_mode(0o600)).unwrap();
    refused(&issued.certificate, &empty, "no private key");
    refused(&home.path().join("none"), &issued.key, "cannot be read");
    let everybody = fs::Permissions::from_mode(0o644);
    fs::set_permissions(&issued.key, everybody).unwrap();
    refused(&issued.certificate, &issued.key, "chmod 0600");
    assert!(!home.path().join("keywheel-data").exists());
}

#[test]
fn beyond_loopback_something_must_protect_the_passwords() {
    let home = Home::new();
    let refused = home.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    for way in [
        "server.tls_certificate_file",
        "server.tls_key_file",
        "a proxy that does TLS",
        "server.allow_plain_http = true",
    ] {
        assert!(refused.err.contains(way), "{refused:?}");
    }
    let listen = ("KEYWHEEL_SERVER__LISTEN", "0.0.0.0:7420");
    let validate = ["config", "validate"];
    let plain = [listen, ("KEYWHEEL_SERVER__ALLOW_PLAIN_HTTP", "true")];
    assert_eq!(home.run_with(&validate, &plain).code, Some(0));
    let doctor = home.run_with(&["doctor"], &plain);
    assert!(doctor.out.contains("in the clear"), "{doctor:?}");
    let encrypted = [listen, (CERTIFICATE, "c.pem"), (KEY, "c.key")];
    assert_eq!(home.run_with(&validate, &encrypted).code, Some(0));
}

#[test]
fn the_doctor_reads_the_certificate_and_asks_by_it() {
    let home = Home::new();
    let authority = Authority::new(home.path(), "ca");
    let [issued, soon] = [("service", 40), ("soon", 20)].map(|(n, d)| authority.service(n, d));
    let daemon = serve(&home, &issued);
    let listen = daemon.url.trim_start_matches("https://");
    let doctor = |issued: &Issued| {
        let ended = home.run_with(
            &["doctor", "--online", "--output", "json"],
            &[
                ("KEYWHEEL_SERVER__LISTEN", listen),
                (CERTIFICATE, text(&issued.certificate)),
                (KEY, text(&issued.key)),
            ],
        );
        let checks: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        let checks = checks.as_array().unwrap().clone();
        move |name: &str| {
            let found = checks.iter().find(|one| one["name"] == name);
            let found = found.unwrap_or_else(|| panic!("no {name} in {checks:?}"));
            let field = |name: &str| found[name].as_str().unwrap().to_owned();
            (field("verdict"), field("found"))
        }
    };
    let fine = doctor(&issued);
    assert_eq!(fine("certificate").0, "fine");
    assert_eq!(fine("certificate's key").0, "fine");
    let names = ("fine".to_owned(), "localhost, 127.0.0.1".to_owned());
    assert_eq!(fine("certificate's names"), names);
    let service = fine("service");
    assert!(
        service.0 == "fine" && service.1.ends_with("is ready"),
        "{service:?}"
    );
    // The service shows another certificate than the settings name.
    let other = doctor(&soon);
    assert_eq!(other("certificate").0, "warning");
    assert_eq!(other("service").0, "fault");
    assert_eq!(daemon.stop(), 0);
}
