//! What bodies may hold: each field's name, type and limits.
//!
//! Invariant: every field named here is read by its operations; a test sends each one wrong.

use serde_json::{Map, Value, json};

/// Ids and other numbers on the wire fit 32 bits.
pub(super) const INT_MAX: i64 = 2_147_483_647;

/// A field of a body.
struct Field {
    name: &'static str,
    schema: Value,
    required: bool,
}

impl Field {
    const fn new(name: &'static str, schema: Value) -> Self {
        Self {
            name,
            schema,
            required: false,
        }
    }

    fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// What may stand in the field: optional ones may also be null or empty.
    fn accepted(self) -> Value {
        if self.required {
            return self.schema;
        }
        match self.schema.get("type").and_then(Value::as_str) {
            Some("array") => self.schema,
            _ => json!({"anyOf": [self.schema, {"enum": [null, ""]}]}),
        }
    }
}

fn text(name: &'static str, chars_max: usize) -> Field {
    Field::new(
        name,
        json!({"type": "string", "minLength": 1, "maxLength": chars_max}),
    )
}

fn secret(name: &'static str, chars_max: usize) -> Field {
    Field::new(
        name,
        json!({"type": "string", "format": "password", "minLength": 1, "maxLength": chars_max}),
    )
}

fn flag(name: &'static str) -> Field {
    Field::new(name, json!({"type": "boolean"}))
}

fn int(name: &'static str, least: i64, most: i64) -> Field {
    Field::new(
        name,
        json!({"type": "integer", "minimum": least, "maximum": most}),
    )
}

fn words(name: &'static str, words: &[&str]) -> Field {
    Field::new(name, json!({"type": "string", "enum": words}))
}

/// An id.
pub(super) fn id() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": INT_MAX})
}

fn id_of(name: &'static str) -> Field {
    Field::new(name, id())
}

/// A number that is kept and shown, and not looked up.
fn kept(name: &'static str) -> Field {
    int(name, -INT_MAX - 1, INT_MAX)
}

fn object(fields: Vec<Field>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in fields {
        if field.required {
            required.push(field.name);
        }
        properties.insert(field.name.to_owned(), field.accepted());
    }
    let mut object = json!({"type": "object", "properties": properties});
    if let (false, Some(object)) = (required.is_empty(), object.as_object_mut()) {
        object.insert("required".to_owned(), json!(required));
    }
    object
}

/// Every body, by the name that operations give it.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    vec![
        ("TokenOrder", token()),
        ("CredentialOrder", object(secrets())),
        ("ChangeOrder", change()),
        ("WorkgroupOrder", workgroup()),
        ("AssetOrder", asset(true)),
        ("AssetEdit", asset(false)),
        ("AssetSearch", asset_search()),
        ("FunctionalAccountOrder", functional_account()),
        ("AssetSystemOrder", asset_system()),
        ("WorkgroupSystemOrder", workgroup_system()),
        ("ManagedSystemEdit", object(system_with_host())),
        ("ManagedAccountOrder", account(true)),
        ("ManagedAccountEdit", account(false)),
        ("PermissionOrders", permissions()),
        ("RolesOrder", roles()),
        ("QuickRuleOrder", quick_rule()),
        ("MembersOrder", object(vec![ids("AccountIDs").required()])),
        ("RequestOrder", request()),
        ("ISARequestOrder", object(asked())),
        ("ReasonGiven", object(vec![text("Reason", 1_000)])),
    ]
}

fn token() -> Value {
    object(vec![
        words("grant_type", &["client_credentials"]).required(),
        secret("client_id", 256).required(),
        secret("client_secret", 256).required(),
    ])
}

/// A password or a key pair, and what to do with it.
fn secrets() -> Vec<Field> {
    let mut fields = given_secrets();
    fields.push(flag("UpdateSystem"));
    fields
}

fn given_secrets() -> Vec<Field> {
    let password = json!({
        "type": "string", "format": "password", "minLength": 1, "maxLength": 1_000,
        "pattern": r"^[^\u0000\r\n]*$",
    });
    vec![
        Field::new("Password", password),
        secret("PrivateKey", 65_536),
        secret("Passphrase", 1_000),
        text("PublicKey", 65_536),
    ]
}

fn change() -> Value {
    let mut fields = secrets();
    fields.push(flag("Queue"));
    object(fields)
}

fn workgroup() -> Value {
    let organization = json!({"type": "string", "format": "uuid"});
    object(vec![
        text("Name", 256).required(),
        Field::new("OrganizationID", organization),
    ])
}

fn asset(new: bool) -> Value {
    let mut address = text("IPAddress", 45);
    address.required = new;
    object(vec![
        address,
        text("AssetName", 128),
        text("DnsName", 255),
        text("DomainName", 64),
        text("MacAddress", 128),
        text("AssetType", 64),
        text("OperatingSystem", 255),
        text("Description", 255),
    ])
}

fn asset_search() -> Value {
    object(vec![
        text("AssetName", 128),
        text("DnsName", 255),
        text("DomainName", 64),
        text("IPAddress", 45),
        text("MacAddress", 128),
        text("AssetType", 64),
    ])
}

fn elevation() -> Field {
    words("ElevationCommand", &["sudo", "doas", "pbrun", "pmrun"])
}

fn functional_account() -> Value {
    let mut fields = vec![
        id_of("PlatformID").required(),
        text("AccountName", 245).required(),
        text("DomainName", 500),
        text("DisplayName", 100),
        text("Description", 1_000),
        elevation(),
        secret("Secret", 255),
        text("ServiceAccountEmail", 255),
    ];
    fields.extend(given_secrets());
    object(fields)
}

/// What systems and accounts share: durations in minutes, and the schedule.
fn managed() -> Vec<Field> {
    vec![
        int("ReleaseDuration", 1, 525_600),
        int("MaxReleaseDuration", 1, 525_600),
        int("ISAReleaseDuration", 1, 525_600),
        int("PasswordRuleID", 0, 0),
        flag("AutoManagementFlag"),
        flag("CheckPasswordFlag"),
        flag("ChangePasswordAfterAnyReleaseFlag"),
        flag("ResetPasswordOnMismatchFlag"),
        words("ChangeFrequencyType", &["first", "last", "xdays"]),
        // 1 to 999 with xdays; otherwise not looked at.
        kept("ChangeFrequencyDays"),
        Field::new(
            "ChangeTime",
            json!({"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"}),
        ),
    ]
}

fn system() -> Vec<Field> {
    let mut fields = vec![
        int("Port", 1, 65_535),
        int("Timeout", 1, 3_600),
        text("Description", 255),
        id_of("FunctionalAccountID"),
        elevation(),
        int("SshKeyEnforcementMode", 0, 2),
        text("InstanceName", 100),
        flag("IsDefaultInstance"),
        text("Template", 255),
        text("ForestName", 64),
        flag("UseSSL"),
        Field::new(
            "OracleInternetDirectoryID",
            json!({"type": "string", "format": "uuid"}),
        ),
        text("OracleInternetDirectoryServiceName", 200),
        text("NetBiosName", 15),
        text("ContactEmail", 1_000),
        int("DSSKeyRuleID", 0, INT_MAX),
        kept("LoginAccountID"),
        int("AccountNameFormat", 0, 2),
        words("RemoteClientType", &["None", "EPM"]),
        kept("ApplicationHostID"),
        flag("IsApplicationHost"),
        text("AccessURL", 2_048),
    ];
    fields.extend(managed());
    fields
}

fn asset_system() -> Value {
    let mut fields = vec![id_of("PlatformID").required()];
    fields.extend(system());
    object(fields)
}

/// A system of an asset has the asset's name and addresses, whatever an edit says.
fn system_with_host() -> Vec<Field> {
    let mut fields = vec![
        id_of("PlatformID"),
        text("HostName", 128),
        text("DnsName", 255),
        text("IPAddress", 45),
    ];
    fields.extend(system());
    fields
}

fn workgroup_system() -> Value {
    let kind = json!({"type": "integer", "enum": [1, 3]});
    let mut fields = vec![Field::new("EntityTypeID", kind).required()];
    for mut field in system_with_host() {
        field.required = matches!(field.name, "PlatformID" | "HostName");
        fields.push(field);
    }
    object(fields)
}

fn account(new: bool) -> Value {
    let mut name = text("AccountName", 245);
    name.required = new;
    let mut fields = vec![
        name,
        text("DomainName", 50),
        text("DistinguishedName", 1_000),
        text("UserPrincipalName", 500),
        text("SAMAccountName", 20),
        text("Description", 1_024),
        flag("ApiEnabled"),
        flag("DSSAutoManagementFlag"),
        flag("UseOwnCredentials"),
        Field::new(
            "NextChangeDate",
            json!({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}(T.*)?$"}),
        ),
        flag("PasswordFallbackFlag"),
        flag("LoginAccountFlag"),
        text("ReleaseNotificationEmail", 255),
        flag("ChangeServicesFlag"),
        flag("RestartServicesFlag"),
        flag("ChangeTasksFlag"),
        int("MaxConcurrentRequests", 0, 999),
        flag("ChangeIISAppPoolFlag"),
        flag("RestartIISAppPoolFlag"),
        kept("WorkgroupID"),
        id_of("ParentAccountID"),
        flag("ChangeWindowsAutoLogonFlag"),
        flag("ChangeComPlusFlag"),
        flag("ChangeDComFlag"),
        flag("ChangeSComFlag"),
        text("ObjectID", 36),
    ];
    fields.extend(managed());
    fields.extend(given_secrets());
    object(fields)
}

/// One record alone is a list of one.
fn permissions() -> Value {
    let one = object(vec![
        int("PermissionID", 1, 7).required(),
        int("AccessLevelID", 0, 2).required(),
    ]);
    json!({"anyOf": [one, {"type": "array", "items": one}]})
}

fn roles() -> Value {
    let role = object(vec![
        Field::new("RoleID", json!({"enum": [1, 2, 3, 4, 5, 7, 8, 9]})).required(),
    ]);
    object(vec![
        Field::new("Roles", json!({"type": "array", "items": role})).required(),
        id_of("AccessPolicyID"),
    ])
}

fn ids(name: &'static str) -> Field {
    Field::new(
        name,
        json!({"type": "array", "items": id(), "maxItems": 10_000}),
    )
}

fn quick_rule() -> Value {
    object(vec![
        ids("IDs").required(),
        text("Title", 255).required(),
        text("Category", 255),
        text("Description", 1_000),
        words("RuleType", &["ManagedAccount", "ManagedSystem"]),
    ])
}

/// What both kinds of requests ask.
fn asked() -> Vec<Field> {
    vec![
        id_of("SystemID").required(),
        id_of("AccountID").required(),
        int("DurationMinutes", 1, 525_600),
        text("Reason", 1_000),
    ]
}

fn request() -> Value {
    let mut fields = asked();
    fields.extend([
        words("AccessType", &["View"]),
        words("ConflictOption", &["reuse", "renew"]),
        flag("RotateOnCheckin"),
        id_of("AccessPolicyScheduleID"),
    ]);
    object(fields)
}
