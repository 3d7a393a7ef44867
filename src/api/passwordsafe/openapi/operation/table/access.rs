//! The operations about who may do what, and about asking for credentials.
//!
//! Invariant: as of the table above: answers are named by the type that is sent.

use serde_json::json;

use crate::api::passwordsafe::openapi::body;
use crate::api::passwordsafe::openapi::operation::{Operation, json_of, operation, several};

pub(super) fn permissions() -> Vec<Operation> {
    const OF_GROUP: &str = "/usergroups/{id}/permissions";
    const OF_RULE: &str = "/usergroups/{id}/smartrules/{rule}/roles";
    vec![
        operation("GET", "/permissions", "Lists feature permissions").lists("Permission"),
        operation("GET", "/accesslevels", "Lists levels of access").lists("AccessLevel"),
        operation("GET", "/usergroups", "Lists groups").lists("UserGroup"),
        operation("GET", "/usergroups/{id}", "Shows a group").shows("UserGroup"),
        operation("GET", OF_GROUP, "Lists a group's permissions").lists("GroupPermission"),
        operation("POST", OF_GROUP, "Gives a group permissions, or takes them")
            .takes("PermissionOrders")
            .ends(),
        operation("DELETE", OF_GROUP, "Takes every permission of a group").removes(),
        operation("GET", "/roles", "Lists roles").lists("Role"),
        operation("GET", "/accesspolicies", "Lists access policies").lists("AccessPolicy"),
        operation("GET", OF_RULE, "Lists a group's roles on a smart rule").lists("Role"),
        operation("POST", OF_RULE, "Sets a group's roles on a smart rule")
            .takes("RolesOrder")
            .ends(),
        operation("DELETE", OF_RULE, "Takes a group's roles on a smart rule").removes(),
    ]
}

pub(super) fn smart_rules() -> Vec<Operation> {
    vec![
        operation("GET", "/smartrules", "Lists smart rules, or finds one")
            .asks_text("title", "Finds one.")
            .lists_or_shows(several("SmartRule"), "SmartRule"),
        operation("GET", "/smartrules/{id}", "Shows a smart rule").shows("SmartRule"),
        operation("DELETE", "/smartrules/{id}", "Deletes a quick rule").ends(),
        operation(
            "GET",
            "/smartrules/{id}/managedaccounts",
            "Lists the accounts of a rule",
        )
        .lists_in_envelope("ManagedAccount"),
        operation(
            "GET",
            "/smartrules/{id}/managedsystems",
            "Lists the managed systems of a rule",
        )
        .lists_in_envelope("ManagedSystem"),
        operation(
            "GET",
            "/smartrules/{id}/assets",
            "Lists the assets of a rule",
        )
        .lists_in_envelope("Asset"),
        operation(
            "POST",
            "/smartrules/{id}/process",
            "Notes that a rule was processed",
        )
        .shows("SmartRule"),
    ]
}

pub(super) fn quick_rules() -> Vec<Operation> {
    const MEMBERS: &str = "/quickrules/{id}/managedaccounts";
    const MEMBER: &str = "/quickrules/{id}/managedaccounts/{account}";
    vec![
        operation("GET", "/quickrules", "Lists quick rules").lists("SmartRule"),
        operation("POST", "/quickrules", "Makes a quick rule")
            .takes("QuickRuleOrder")
            .makes("SmartRule"),
        operation("GET", "/quickrules/{id}", "Shows a quick rule").shows("SmartRule"),
        operation("DELETE", "/quickrules/{id}", "Deletes a quick rule").ends(),
        operation("GET", MEMBERS, "Lists a quick rule's accounts")
            .lists_in_envelope("ManagedAccount"),
        operation("PUT", MEMBERS, "Replaces a quick rule's accounts")
            .takes("MembersOrder")
            .lists_in_envelope("ManagedAccount"),
        operation("POST", MEMBER, "Adds an account to a quick rule")
            .lists_in_envelope("ManagedAccount"),
        operation("DELETE", MEMBER, "Takes an account from a quick rule")
            .lists_in_envelope("ManagedAccount"),
    ]
}

pub(super) fn requests() -> Vec<Operation> {
    let one_of = |words: &[&str]| json!({"type": "string", "enum": words});
    let secrets = || one_of(&["password", "dsskey", "passphrase"]);
    let id = || json_of("The RequestID.", body::id());
    let secret = || json_of("The secret.", json!({"type": "string"}));
    let ending = |path, summary| operation("PUT", path, summary).takes("ReasonGiven");
    let terminating = |path, summary| operation("POST", path, summary).takes("ReasonGiven").ends();
    vec![
        operation(
            "GET",
            "/requests",
            "Lists requests: the caller's own, or those to approve",
        )
        .asks("status", one_of(&["all", "active", "pending"]), "Which.")
        .asks("queue", one_of(&["req", "app"]), "Own, or to approve.")
        .lists("Request"),
        operation("POST", "/requests", "Asks for a credential")
            .takes("RequestOrder")
            .gives("200", id())
            .gives("201", id())
            .also("404"),
        operation("GET", "/requests/{id}", "Shows a request").shows("Request"),
        operation(
            "GET",
            "/credentials/{request}",
            "Hands over what was asked for",
        )
        .asks(
            "type",
            secrets(),
            "Which secret; the password where nothing is said.",
        )
        .gives("200", secret()),
        operation(
            "POST",
            "/isarequests",
            "Hands over a credential without asking",
        )
        .asks(
            "type",
            secrets(),
            "Which secret; the password where nothing is said.",
        )
        .takes("ISARequestOrder")
        .gives("201", secret())
        .also("404"),
        ending("/requests/{id}/checkin", "Gives a credential back").orders(false),
        ending("/requests/{id}/approve", "Approves somebody else's request").ends(),
        ending("/requests/{id}/deny", "Denies somebody else's request").ends(),
        operation(
            "PUT",
            "/requests/{id}/rotateoncheckin",
            "Has the credential changed when it is given back",
        )
        .ends(),
        terminating(
            "/managedaccounts/{id}/requests/terminate",
            "Ends every request for an account",
        ),
        terminating(
            "/managedsystems/{id}/requests/terminate",
            "Ends every request for accounts of a system",
        ),
        terminating(
            "/users/{id}/requests/terminate",
            "Ends every request of a user",
        ),
    ]
}
