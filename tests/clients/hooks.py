# What schemathesis cannot know of a service, and what it must leave alone: else its run is blind.
#
# Invariant: a value is only ever put in the place of one of its own type.
import schemathesis
from schemathesis.core.parameters import ParameterLocation

# Things of every kind that the test has brought in, by their ids: those that stay, and as many
# that may be deleted.
STAY = 6
# Each system that stays has three accounts; the last is that of its functional account.
ACCOUNTS = 3
# The first administrator and the keys of the run, by the paths that could end them.
OWN = {"/api/v1/users/{id}": {1}, "/api/v1/keys/{id}": {1, 2, 3}}
# By the name of a parameter: one that is there.
NAMES = {
    "workgroup": "Default",
    "workgroupname": "Default",
    "asset": "host1",
    "assetname": "host1",
    "systemname": "host1",
    "account": "user0",
    "accountname": "user0",
    "name": "user0",
}
# Fields of bodies that hold ids of such things.
IDS = {
    "platformid",
    "systemid",
    "accountid",
    "functionalaccountid",
    "userid",
    "policyid",
    "accesspolicyid",
    "workgroupid",
}

# Where the paths of the IT Glue dialect begin.
DIALECT = ("/organization", "/password_", "/passwords", "/exports")
# Each operation that deletes has things of its own: those of organization n have the ids n,
# ROUND + n, and so on, and the first of them stay.
ROUND = 2 * STAY
DELETED = {
    "/passwords/{id}": 1,
    "/organizations/{oid}/relationships/passwords/{id}": 2,
    "/passwords": 3,
    "/organizations/{oid}/relationships/passwords": 4,
    "/organizations/{oid}/relationships/password_folders/{id}": 1,
    "/organizations/{oid}/relationships/password_folders": 2,
    "/exports/{id}": 1,
}


def steered(name, value):
    """Every other id or name leads somewhere; drawn from all there can be, hardly one would."""
    if name in ("platform_id", "PlatformID"):
        return 2 if type(value) is int else value  # Linux: the one on which the rest is
    if type(value) is int and value > 0 and value % 2:
        return value % STAY + 1
    if type(value) is str and len(value) % 2:
        return NAMES.get(name.lower(), value)
    return value


def steer(values, of):
    for name in values:
        if of(name):
            values[name] = steered(name, values[name])


def shift(case):
    """By how much an id must grow for its thing not to be missed, or to be the right one."""
    id = case.path_parameters["id"]
    ends = case.path.endswith("/revoke") or case.method == "DELETE" and (
        case.path.endswith(("/{id}", "/syncedaccounts"))
        or case.path.startswith("/managedsystems/")
    )
    owned = case.method != "GET" and any(
        case.path.startswith(start) and id in ids for start, ids in OWN.items()
    )
    if case.path == "/assets/{id}/managedsystems" and case.method == "POST":
        return STAY + 4  # without a system
    if case.path == "/smartrules/{id}" and ends:
        return 2 * STAY  # another than its other path has ended
    if case.path.endswith("/{name}"):
        return STAY + 1  # likewise
    if case.path.startswith("/quickrules/") and not ends:
        return 2  # the first two are built in
    return STAY if ends or owned else 0


def attributes(body):
    """Those of every resource that is sent."""
    data = body.get("data") if isinstance(body, dict) else body
    for item in data if isinstance(data, list) else [data]:
        if isinstance(item, dict) and isinstance(item.get("attributes"), dict):
            yield item["attributes"]


def staying(value):
    return type(value) is int and 0 < value <= STAY


def steer_sent(sent, case, own, later):
    """Attributes lead to things of one organization, and of the round of things that is meant."""
    odd = len(sent) % 2 == 1
    for name in ("id", "organization-id", "password-category-id"):
        if name in sent:
            sent[name] = steered(name, sent[name])
    of = own if staying(own) else sent.get("organization-id", sent.get("id"))
    if not staying(of):
        of = 1
    if staying(sent.get("id")):
        sent["id"] = of + later
    # A record that moves would be missed where it was.
    if case.method == "PATCH" and type(sent.get("organization-id")) is int:
        sent["organization-id"] = of
    # Folders are their organization's, and none is below itself.
    if type(sent.get("password-folder-id")) is int:
        sent["password-folder-id"] = of
    if odd:
        for name in ("parent-id", "parent-folder-id"):
            sent.pop(name, None)
        # Either both or neither, and what a record belongs to stays.
        sent.pop("resource-id", None)
        sent.pop("resource-type", None)
    elif type(sent.get("resource-type")) is str and type(sent.get("resource-id")) is int:
        sent["resource-type"] = "Configuration"
    if type(sent.get("otp-secret")) is str and len(sent["otp-secret"]) % 2:
        sent["otp-secret"] = "GEZDGNBVGY3TQOJQ"


def steer_dialect(case):
    """What belongs to one organization is named together, and what is deleted is nothing else's."""
    path, query = case.path_parameters or {}, case.query or {}
    later = ROUND * DELETED.get(case.path, 0) if case.method == "DELETE" else 0
    own = path.get("oid", path.get("id"))
    if staying(path.get("oid")) and type(path.get("id")) is int:
        path["id"] = path["oid"]
    if staying(path.get("id")):
        path["id"] += later
    if not case.meta.is_negative_at(ParameterLocation.BODY):
        for sent in attributes(case.body):
            steer_sent(sent, case, own, later)
    filters = [name for name in query if name.startswith(("filter[", "exclude["))]
    if case.method == "DELETE" and filters and not case.meta.is_negative_at(ParameterLocation.QUERY):
        # Whatever else they pass, they delete nothing that stays.
        query["filter[id]"] = str((own if staying(own) else 1) + later)
        # Filters and a body are refused together: mostly only one of them is meant.
        is_sent = isinstance(case.body, (dict, list))
        if is_sent and len(query) % 3 and not case.meta.is_negative_at(ParameterLocation.BODY):
            case.body = []


def steer_order(path, body):
    """What goes together with one of its fields alone is left out, every other time."""
    odd = type(body.get("reason")) is str and len(body["reason"]) % 2 == 1
    if path.endswith("/resolve") and odd:
        body["action"] = "probe"
        for name in ("version", "untested", "password"):
            body.pop(name, None)
    if path.endswith("/accounts/{id}/reveal") and odd:
        for name in ("version", "via", "kind"):
            body.pop(name, None)
    # Either all accounts, or those that are named.
    if path.startswith("/api/v1/regression/") and odd:
        body["all"] = True
        body["accounts"] = []


@schemathesis.hook
def before_call(context, case, kwargs):
    path, query = case.path_parameters or {}, case.query or {}
    body = case.body if isinstance(case.body, dict) else {}
    for name, value in path.items():
        numbered = name.lower() not in NAMES or case.path.startswith("/quickrules/")
        if numbered and str(value).isdecimal():
            path[name] = int(value)  # a segment may be there as its text
    for name, value in query.items():
        if isinstance(value, (dict, list)):
            query[name] = str(value)  # else it is repeated, and the first one counts
    steer(path, lambda name: True)
    steer(query, lambda name: name.lower() in NAMES)
    if case.path.startswith(DIALECT):
        return steer_dialect(case)
    steer(body, lambda name: name.lower().replace("_", "") in IDS)
    id = path.get("id")
    if type(id) is int and 0 < id <= STAY:
        path["id"] = id = id + shift(case)
    # No account is synced with itself.
    if type(id) is int and path.get("synced") == id:
        path["synced"] = id + 1
    # An account of the system that is named, and the one that is the functional account's.
    if type(body.get("SystemID")) is int and type(body.get("AccountID")) is int:
        body["AccountID"] = ACCOUNTS * min(body["SystemID"], STAY)
    if case.path.endswith("/functional-accounts/{id}/account") and type(id) is int:
        if type(body.get("account_id")) is int:
            body["account_id"] = ACCOUNTS * min(id, STAY)
    # Names of policies are unique: an edit may keep its own. One access policy is built in.
    before = {"/api/v1/policies/{id}": 0, "/api/v1/access-policies/{id}": 1}.get(case.path)
    if before is not None and type(id) is int and type(body.get("name")) is str:
        if len(body["name"]) % 2:
            body["name"] = f"policy{id - before}"
    # Passwords of users are long ones, and a second factor is nobody's but one's own.
    if case.path.endswith("/password") and type(body.get("password")) is str:
        if len(body["password"]) % 2:
            body["password"] = "a password that is long enough"
    if "/totp" in case.path and type(id) is int:
        path["id"] = 1
    if case.body is body and not case.meta.is_negative_at(ParameterLocation.BODY):
        steer_order(case.path, body)
    # No target answers and no drawn key is one: what is stored only, and a password, can succeed.
    if case.method == "PUT" and type(body.get("UpdateSystem")) is bool:
        body["UpdateSystem"] = False
    if type(body.get("PrivateKey")) is str and len(body["PrivateKey"]) % 2:
        for name in ("PrivateKey", "PublicKey", "Passphrase"):
            body.pop(name, None)
    # The host that is deleted by its name is one without a system.
    if case.method == "DELETE" and query.get("name") == NAMES["name"]:
        query["name"] = "host12"
    # `wait` holds an answer back for so many seconds.
    if str(query.get("wait")).isdecimal():
        query["wait"] = min(int(query["wait"]), 1)
    # An edit may be based on any revision: nobody else edits. Others come from before.
    headers = case.headers or {}
    if "If-Match" in headers and len(headers["If-Match"]) % 2 == 0:
        headers["If-Match"] = "*"
