//! The operations themselves, noun by noun as the routes are.
//!
//! Invariant: what an operation answers with is named by the type that it sends.

mod access;

use serde_json::{Value, json};

use super::{Operation, json_of, operation, several};
use crate::api::passwordsafe::openapi::body;

/// Every operation of the dialect.
pub(in crate::api::passwordsafe::openapi) fn all() -> Vec<Operation> {
    let parts = [
        ("sign-in", auth()),
        ("credentials", credentials()),
        ("assets", assets()),
        ("functional accounts", functional_accounts()),
        ("managed systems", managed_systems()),
        ("managed accounts", managed_accounts()),
        ("reference", reference_data()),
        ("permissions", access::permissions()),
        ("smart rules", access::smart_rules()),
        ("quick rules", access::quick_rules()),
        ("requests", access::requests()),
    ];
    let tagged = |(tag, part): (&'static str, Vec<Operation>)| {
        part.into_iter().map(move |one| one.tagged(tag))
    };
    parts.into_iter().flat_map(tagged).collect()
}

fn object(fields: &[(&str, Value)]) -> Value {
    let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
    let properties: serde_json::Map<String, Value> = fields
        .iter()
        .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
        .collect();
    json!({"type": "object", "required": names, "properties": properties})
}

/// The answers that have no type of their own.
pub(in crate::api::passwordsafe::openapi) fn answers() -> Vec<(&'static str, Value)> {
    let (text, int) = (json!({"type": "string"}), json!({"type": "integer"}));
    let named = |id: &'static str| object(&[(id, int.clone()), ("Name", text.clone())]);
    vec![
        (
            "Token",
            object(&[
                ("access_token", text.clone()),
                ("expires_in", int.clone()),
                ("token_type", json!({"const": "Bearer"})),
                ("scope", json!({"const": "publicapi"})),
            ]),
        ),
        (
            "SignedIn",
            object(&[
                ("UserId", int.clone()),
                ("SID", json!({"type": ["string", "null"]})),
                ("EmailAddress", text.clone()),
                ("UserName", text.clone()),
                ("Name", text.clone()),
            ]),
        ),
        ("Tested", object(&[("Success", json!({"type": "boolean"}))])),
        ("Version", object(&[("Version", text.clone())])),
        ("Permission", named("PermissionID")),
        ("AccessLevel", named("AccessLevelID")),
        ("Role", named("RoleID")),
        (
            "GroupPermission",
            object(&[
                ("PermissionID", int.clone()),
                ("AccessLevelID", int.clone()),
            ]),
        ),
        (
            "AccessPolicy",
            object(&[
                ("AccessPolicyID", int.clone()),
                ("Name", text.clone()),
                ("Description", text.clone()),
                (
                    "Schedules",
                    json!({"type": "array", "items": schedule(&int, &text)}),
                ),
            ]),
        ),
    ]
}

/// A schedule of an access policy; a request may name its id.
fn schedule(int: &Value, text: &Value) -> Value {
    let flag = json!({"type": "boolean"});
    let kind = object(&[
        ("AccessType", json!({"const": "View"})),
        ("IsSession", flag.clone()),
        ("RecordSession", flag.clone()),
        ("MinApprovers", int.clone()),
    ]);
    object(&[
        ("ScheduleID", int.clone()),
        ("Name", text.clone()),
        ("RequireReason", flag.clone()),
        ("RequireTicketSystem", flag),
        ("TicketSystemID", json!({"type": ["integer", "null"]})),
        ("AccessTypes", json!({"type": "array", "items": kind})),
    ])
}

fn auth() -> Vec<Operation> {
    let refused = |words: &[&str]| object(&[("error", json!({"enum": words}))]);
    let malformed = json!({"anyOf": [
        refused(&["invalid_request", "unsupported_grant_type"]), {"type": "string"},
    ]});
    let unknown = refused(&["invalid_client"]);
    let cookie = json!({"Set-Cookie": {"required": true, "schema": {"type": "string"}}});
    let mut signed_in = json_of("Who has signed in.", super::reference("SignedIn"));
    if let Some(signed_in) = signed_in.as_object_mut() {
        signed_in.insert("headers".to_owned(), cookie);
    }
    vec![
        operation("POST", "/auth/connect/token", "Hands out an access token")
            .takes("TokenOrder")
            .shows("Token")
            .gives("400", json_of("In the words of RFC 6749.", malformed))
            .gives("401", json_of("In the words of RFC 6749.", unknown)),
        operation("POST", "/auth/signappin", "Signs in")
            .secured_by("registration")
            .gives("200", signed_in)
            .also("401"),
        operation(
            "POST",
            "/auth/signout",
            "Signs out, if somebody is signed in",
        )
        .removes(),
    ]
}

fn credentials() -> Vec<Operation> {
    const BY_PATH: &str = "/workgroups/{workgroup}/assets/{asset}/managedsystems/managedaccounts/\
                           {account}/credentials";
    vec![
        operation(
            "PUT",
            "/managedaccounts/{id}/credentials",
            "Sets an account's credential",
        )
        .takes("CredentialOrder")
        .orders(true),
        operation(
            "PUT",
            "/credentials",
            "Sets the credential of an account found by names",
        )
        .demands("workgroupName", "Name of the workgroup.")
        .demands("assetName", "Name of the managed system.")
        .demands("accountName", "Name of the account.")
        .takes("CredentialOrder")
        .orders(true)
        .also("404"),
        operation(
            "PUT",
            BY_PATH,
            "Sets the credential of an account found by names",
        )
        .takes("CredentialOrder")
        .orders(true),
        operation(
            "POST",
            "/managedaccounts/{id}/credentials/test",
            "Tests an account's credential",
        )
        .shows("Tested"),
        operation(
            "POST",
            "/managedaccounts/{id}/credentials/change",
            "Changes an account's credential, at once or in the background",
        )
        .takes("ChangeOrder")
        .orders(true),
        operation(
            "POST",
            "/managedsystems/{id}/managedaccounts/credentials/change",
            "Changes the credential of every active account of a system: a quarantine",
        )
        .orders(true),
    ]
}

fn assets() -> Vec<Operation> {
    const OF_WORKGROUP: &str = "/workgroups/{workgroup}/assets";
    vec![
        operation("GET", "/workgroups", "Lists workgroups, or finds one")
            .asks_text("name", "Finds one.")
            .lists_or_shows(several("Workgroup"), "Workgroup"),
        operation("POST", "/workgroups", "Makes a workgroup")
            .takes("WorkgroupOrder")
            .makes("Workgroup"),
        operation("GET", "/workgroups/{workgroup}", "Shows a workgroup").shows("Workgroup"),
        operation("GET", OF_WORKGROUP, "Lists assets, or finds one")
            .asks_text("name", "Finds one.")
            .lists_or_shows(super::paged("Asset"), "Asset"),
        operation("POST", OF_WORKGROUP, "Adds an asset")
            .takes("AssetOrder")
            .makes("Asset"),
        operation("DELETE", OF_WORKGROUP, "Deletes an asset by its name")
            .demands("name", "Name of the asset.")
            .removes(),
        operation("GET", "/assets/{id}", "Shows an asset").shows("Asset"),
        operation("PUT", "/assets/{id}", "Edits an asset")
            .takes("AssetEdit")
            .shows("Asset"),
        operation("DELETE", "/assets/{id}", "Deletes an asset").removes(),
        operation(
            "POST",
            "/assets/search",
            "Finds assets whose fields equal those given; at least one is",
        )
        .takes("AssetSearch")
        .reading()
        .lists_in_envelope("Asset"),
    ]
}

fn functional_accounts() -> Vec<Operation> {
    vec![
        operation("GET", "/functionalaccounts", "Lists functional accounts")
            .lists("FunctionalAccount"),
        operation("POST", "/functionalaccounts", "Makes a functional account")
            .takes("FunctionalAccountOrder")
            .makes("FunctionalAccount"),
        operation(
            "GET",
            "/functionalaccounts/{id}",
            "Shows a functional account",
        )
        .shows("FunctionalAccount"),
        operation(
            "DELETE",
            "/functionalaccounts/{id}",
            "Deletes a functional account",
        )
        .removes(),
        operation(
            "GET",
            "/functionalaccounts/{id}/managedsystems",
            "Lists the systems of a functional account",
        )
        .lists_in_envelope("ManagedSystem"),
    ]
}

fn managed_systems() -> Vec<Operation> {
    const OF_ASSET: &str = "/assets/{id}/managedsystems";
    const OF_WORKGROUP: &str = "/workgroups/{workgroup}/managedsystems";
    let kind = || json!({"type": "integer", "minimum": 1, "maximum": 4});
    vec![
        operation("GET", OF_ASSET, "Shows an asset's managed system").shows("ManagedSystem"),
        operation("POST", OF_ASSET, "Makes a managed system of an asset")
            .takes("AssetSystemOrder")
            .makes("ManagedSystem"),
        operation("GET", OF_WORKGROUP, "Lists a workgroup's managed systems")
            .lists_in_envelope("ManagedSystem"),
        operation(
            "POST",
            OF_WORKGROUP,
            "Makes a managed system without an asset",
        )
        .takes("WorkgroupSystemOrder")
        .makes("ManagedSystem"),
        operation("GET", "/managedsystems", "Lists managed systems")
            .asks("type", kind(), "An EntityTypeID.")
            .asks_text("name", "A SystemName.")
            .lists_in_envelope("ManagedSystem"),
        operation("GET", "/managedsystems/{id}", "Shows a managed system").shows("ManagedSystem"),
        operation("PUT", "/managedsystems/{id}", "Edits a managed system")
            .takes("ManagedSystemEdit")
            .shows("ManagedSystem"),
        operation("DELETE", "/managedsystems/{id}", "Deletes a managed system").removes(),
    ]
}

fn managed_accounts() -> Vec<Operation> {
    const OF_SYSTEM: &str = "/managedsystems/{id}/managedaccounts";
    const SYNCED: &str = "/managedaccounts/{id}/syncedaccounts";
    const ONE_SYNCED: &str = "/managedaccounts/{id}/syncedaccounts/{synced}";
    let kinds = json!({"type": "string", "enum": [
        "system", "directory", "domainlinked", "database", "cloud", "application",
    ]});
    vec![
        operation("GET", OF_SYSTEM, "Lists a system's accounts").lists("ManagedAccount"),
        operation("POST", OF_SYSTEM, "Adds an account to a system")
            .takes("ManagedAccountOrder")
            .makes("ManagedAccount"),
        operation("DELETE", OF_SYSTEM, "Deletes every account of a system").removes(),
        operation(
            "DELETE",
            "/managedsystems/{id}/managedaccounts/{name}",
            "Deletes an account by its name",
        )
        .removes()
        .also("400"),
        operation(
            "GET",
            "/managedaccounts",
            "Lists the accounts that may be asked for, or finds one by both names",
        )
        .asks_text("systemName", "Name of the managed system.")
        .asks_text("accountName", "Name of the account.")
        .asks("systemID", body::id(), "A ManagedSystemID.")
        .asks_text("workgroupName", "Name of the workgroup.")
        .asks_text("applicationDisplayName", "No account has one.")
        .asks_text("ipAddress", "Address of the managed system.")
        .asks("type", kinds, "A kind of managed system.")
        .lists_or_shows(several("RequestableAccount"), "RequestableAccount"),
        operation("GET", "/managedaccounts/{id}", "Shows an account").shows("ManagedAccount"),
        operation("PUT", "/managedaccounts/{id}", "Edits an account")
            .takes("ManagedAccountEdit")
            .shows("ManagedAccount"),
        operation("DELETE", "/managedaccounts/{id}", "Deletes an account").removes(),
        operation(
            "GET",
            SYNCED,
            "Lists the accounts that share this one's password",
        )
        .lists("ManagedAccount"),
        operation("DELETE", SYNCED, "Ends the sync of every account").removes(),
        operation("POST", ONE_SYNCED, "Syncs an account with this one")
            .shows("ManagedAccount")
            .makes("ManagedAccount")
            .also("400"),
        operation("DELETE", ONE_SYNCED, "Ends the sync of an account").removes(),
    ]
}

fn reference_data() -> Vec<Operation> {
    let products = json!({"type": "string", "enum": ["PasswordSafe", "SecretsSafe"]});
    vec![
        operation(
            "GET",
            "/configuration/version",
            "Shows the vendor's release that is followed",
        )
        .shows("Version"),
        operation("GET", "/platforms", "Lists platforms").lists("Platform"),
        operation("GET", "/entitytypes", "Lists kinds of systems").lists("EntityType"),
        operation(
            "GET",
            "/entitytypes/{id}/platforms",
            "Lists the platforms of a kind of systems",
        )
        .lists("Platform"),
        operation("GET", "/passwordrules", "Lists password rules")
            .asks("enabledproducts", products, "Rules of one product.")
            .lists("PasswordRule"),
        operation("GET", "/passwordrules/{id}", "Shows a password rule").shows("PasswordRule"),
        operation("GET", "/dsskeyrules", "Lists key rules").lists("DSSKeyRule"),
        operation("GET", "/dsskeyrules/{id}", "Shows a key rule").shows("DSSKeyRule"),
    ]
}
