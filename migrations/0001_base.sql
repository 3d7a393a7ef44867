-- The base schema, one text for SQLite and PostgreSQL.
--
-- Types are TEXT, BIGINT (ids, counts, epoch milliseconds UTC), SMALLINT (0 or 1) and BYTEA.
-- `…_at` is always epoch milliseconds UTC. `…_key` is the lower-cased sort and search form, made in code.

-- Next free id of each noun; handed out in blocks.
CREATE TABLE ids (
    kind TEXT PRIMARY KEY, -- the noun
    next BIGINT NOT NULL   -- the first id that nobody has been given
);

-- One row: which store this is.
CREATE TABLE store_identity (
    one BIGINT PRIMARY KEY CHECK (one = 1), -- always 1
    uuid TEXT NOT NULL,                     -- drawn once, at creation
    probe BYTEA,                            -- a sealed constant: opens only with the right KEK
    created_at BIGINT NOT NULL              -- when the store was made
);

-- Data-encryption keys, each wrapped by a KEK.
CREATE TABLE data_keys (
    id BIGINT PRIMARY KEY,       -- stands in the header of every sealed value
    kek_id TEXT NOT NULL,        -- which KEK wraps it
    wrapped BYTEA NOT NULL,      -- the key, sealed
    seals BIGINT NOT NULL,       -- seals reserved so far; never undercounts
    created_at BIGINT NOT NULL,  -- when it was drawn
    retired_at BIGINT            -- since when it seals nothing new
);

-- Who may call.
CREATE TABLE users (
    id BIGINT PRIMARY KEY,          -- dense
    name TEXT NOT NULL,             -- sign-in name, as given
    name_key TEXT NOT NULL UNIQUE,  -- lower-cased
    display_name TEXT NOT NULL,     -- what people read
    email TEXT NOT NULL,            -- '' where unknown
    administrator SMALLINT NOT NULL,-- 1: passes every check
    disabled SMALLINT NOT NULL,     -- 1: may not sign in
    created_at BIGINT NOT NULL      -- when it was made
);

-- What a user may do; administrators need no rows.
CREATE TABLE grants (
    user_id BIGINT NOT NULL REFERENCES users (id), -- whom
    permission TEXT NOT NULL,                      -- for example accounts.write
    PRIMARY KEY (user_id, permission)
);

-- API keys; only hashes are kept.
CREATE TABLE api_keys (
    id BIGINT PRIMARY KEY,                         -- dense
    kind TEXT NOT NULL CHECK (kind IN ('native', 'passwordsafe', 'oauth', 'itglue')), -- which interface takes it
    user_id BIGINT NOT NULL REFERENCES users (id), -- who acts with it
    name TEXT NOT NULL,                            -- what people read
    hash TEXT NOT NULL UNIQUE,                     -- SHA-256 of the key or client secret, hex
    prefix TEXT NOT NULL,                          -- its first characters, or its client id
    created_at BIGINT NOT NULL,                    -- when it was made
    expires_at BIGINT,                             -- when it ends by itself
    revoked_at BIGINT,                             -- when somebody ended it
    addresses TEXT NOT NULL,                       -- networks it may be used from, by commas; '' anywhere
    last_used_at BIGINT,                           -- last use, at a minute's grain
    successor_id BIGINT REFERENCES api_keys (id),  -- the key that takes its place
    password_required SMALLINT NOT NULL,           -- 1: signs in with its user's password alone
    password_access SMALLINT NOT NULL,             -- 1: of kind itglue, sees and sets values
    organizations TEXT NOT NULL,                   -- ids in reach, by commas; '' all
    revision BIGINT NOT NULL                       -- counts edits; the ETag
);

-- Signed-in sessions of the Password Safe dialect.
CREATE TABLE sessions (
    id BIGINT PRIMARY KEY,                         -- dense
    hash TEXT NOT NULL UNIQUE,                     -- SHA-256 of the cookie, hex
    user_id BIGINT NOT NULL REFERENCES users (id), -- who signed in
    key_id BIGINT NOT NULL REFERENCES api_keys (id), -- with which key
    created_at BIGINT NOT NULL,                    -- sign-in
    seen_at BIGINT NOT NULL                        -- last call, at a minute's grain
);

-- Rotation policies.
CREATE TABLE policies (
    id BIGINT PRIMARY KEY,          -- dense
    name TEXT NOT NULL,             -- as given
    name_key TEXT NOT NULL UNIQUE,  -- lower-cased
    body TEXT NOT NULL,             -- the policy as JSON
    revision BIGINT NOT NULL,       -- counts edits; the ETag
    created_at BIGINT NOT NULL,     -- when it was made
    updated_at BIGINT NOT NULL      -- last edit
);

-- Groups of assets in the Password Safe dialect.
CREATE TABLE workgroups (
    id BIGINT PRIMARY KEY,          -- dense
    name TEXT NOT NULL,             -- as given
    name_key TEXT NOT NULL UNIQUE,  -- lower-cased
    organization_id TEXT NOT NULL   -- a GUID
);

-- Machines in the Password Safe dialect.
CREATE TABLE assets (
    id BIGINT PRIMARY KEY,                                   -- dense
    workgroup_id BIGINT NOT NULL REFERENCES workgroups (id), -- its workgroup
    name TEXT NOT NULL,             -- as given
    name_key TEXT NOT NULL,         -- lower-cased
    dns_name TEXT NOT NULL,         -- '' where unknown
    domain_name TEXT NOT NULL,      -- '' where unknown
    ip_address TEXT NOT NULL,       -- as given
    mac_address TEXT NOT NULL,      -- '' where unknown
    asset_type TEXT NOT NULL,       -- '' where unknown
    operating_system TEXT NOT NULL, -- '' where unknown
    description TEXT NOT NULL,      -- '' where unknown
    created_at BIGINT NOT NULL,     -- when it was made
    updated_at BIGINT NOT NULL,     -- last edit
    UNIQUE (workgroup_id, name_key)
);

-- Privileged logins that connectors use.
CREATE TABLE functional_accounts (
    id BIGINT PRIMARY KEY,          -- dense
    platform_id BIGINT NOT NULL,    -- built-in platform
    domain_name TEXT,               -- NULL where not given
    account_name TEXT NOT NULL,     -- login name or DN
    display_name TEXT NOT NULL,     -- what people read
    description TEXT,               -- NULL where not given
    elevation TEXT,                 -- sudo, or NULL
    password BYTEA,                 -- sealed; NULL where none was given
    private_key BYTEA,              -- sealed, as it was given; NULL where none was; wins over the password
    passphrase BYTEA,               -- the private key's, sealed; NULL where it has none
    public_key TEXT,                -- the private key's: algorithm and base64, no comment
    enable_secret BYTEA,            -- sealed: raises rights on network devices; NULL where none was given
    revision BIGINT NOT NULL,       -- counts edits; the ETag
    created_at BIGINT NOT NULL      -- when it was made
);

-- Managed systems: what the queue touches often.
CREATE TABLE systems (
    id BIGINT PRIMARY KEY,               -- dense
    max_sessions BIGINT NOT NULL CHECK (max_sessions > 0), -- claims at once
    max_batch BIGINT NOT NULL CHECK (max_batch > 0),       -- jobs a claim, at most
    running BIGINT NOT NULL CHECK (running >= 0),          -- claims now
    head0 BIGINT,                        -- earliest immediate job; never later than true
    head1 BIGINT,                        -- earliest quarantine job; never later than true
    head2 BIGINT,                        -- earliest routine job; never later than true
    paused_until BIGINT NOT NULL,        -- the breaker: no claim before, but for immediate jobs
    trips BIGINT NOT NULL,               -- faults of the system in a row
    scan_mark BIGINT,                    -- which stale scan held it last; NULL: none has
    guarded SMALLINT NOT NULL DEFAULT 0  -- 1: it uses a linked functional account, or one lives here
);
CREATE INDEX systems_head0 ON systems (head0, id) WHERE head0 IS NOT NULL AND running < max_sessions;
CREATE INDEX systems_head1 ON systems (head1, id) WHERE head1 IS NOT NULL AND running < max_sessions;
CREATE INDEX systems_head2 ON systems (head2, id) WHERE head2 IS NOT NULL AND running < max_sessions;
CREATE INDEX systems_broken ON systems (id) WHERE trips >= 3;

-- Managed systems: what people set.
CREATE TABLE system_details (
    system_id BIGINT PRIMARY KEY REFERENCES systems (id), -- the system
    entity_type BIGINT NOT NULL,         -- 1 asset, 3 directory
    asset_id BIGINT UNIQUE REFERENCES assets (id), -- its asset, if it has one
    workgroup_id BIGINT NOT NULL REFERENCES workgroups (id), -- its workgroup
    platform_id BIGINT NOT NULL,         -- built-in platform
    name TEXT NOT NULL,                  -- SystemName: the asset's name or host_name
    name_key TEXT NOT NULL,              -- lower-cased
    host_name TEXT NOT NULL,             -- as given
    dns_name TEXT,                       -- NULL where not given
    ip_address TEXT,                     -- NULL where not given
    port BIGINT,                         -- NULL: the platform's
    timeout_s BIGINT NOT NULL,           -- the longest one exchange may take
    description TEXT,                    -- NULL where not given
    auto_management SMALLINT NOT NULL,   -- new accounts follow their schedule
    functional_account_id BIGINT REFERENCES functional_accounts (id), -- who changes the others
    elevation TEXT,                      -- sudo, or NULL
    host_key_mode BIGINT NOT NULL,       -- 0 and 2 strict, 1 accept the first
    host_key TEXT,                       -- pinned, as ssh-keygen -lf prints it: ssh-ed25519 SHA256:…
    tls_ca TEXT,                         -- PEM bundle of the trusted authorities
    tls_server_name TEXT,                -- name in the certificate, if not the host's
    starttls SMALLINT NOT NULL,          -- 1: plain port and StartTLS
    base_dn TEXT,                        -- where accounts without a DN are looked up
    flavour TEXT,                        -- pinned: which product the directory is
    key_attribute TEXT,                  -- where it keeps SSH public keys, if not its product's way
    in_flight BIGINT,                    -- exchanges a session; NULL: the connector's default
    lockout_threshold BIGINT,            -- failed logins that lock; 0 never; NULL unknown
    policy_id BIGINT REFERENCES policies (id), -- policy of its accounts
    password_rule_id BIGINT NOT NULL,    -- rule of its new accounts
    change_frequency_type TEXT NOT NULL CHECK (change_frequency_type IN ('first', 'last', 'xdays')), -- for new accounts
    change_frequency_days BIGINT,        -- for xdays
    change_time TEXT NOT NULL,           -- HH:MM, UTC
    extras TEXT NOT NULL,                -- dialect fields that are kept and shown, as JSON
    revision BIGINT NOT NULL,            -- counts edits; the ETag
    created_at BIGINT NOT NULL,          -- when it was made
    deleted_at BIGINT                    -- when it was deleted; versions are kept
);
CREATE INDEX system_details_name ON system_details (name_key);
CREATE INDEX system_details_functional ON system_details (functional_account_id) WHERE functional_account_id IS NOT NULL;

-- Managed accounts.
CREATE TABLE accounts (
    id BIGINT PRIMARY KEY,               -- dense
    system_id BIGINT NOT NULL REFERENCES systems (id), -- where it lives
    target_id TEXT,                      -- canonical identity on the target; NULL once deleted
    name TEXT NOT NULL,                  -- login name, as given
    name_key TEXT NOT NULL,              -- lower-cased
    active SMALLINT NOT NULL,            -- 1: neither suspended nor deleted
    epoch BIGINT NOT NULL,               -- counts rotations opened
    current_version BIGINT,              -- the password that is known to work
    current_key_version BIGINT,          -- the key pair that is known to work
    last_version BIGINT NOT NULL,        -- the highest version ever staged
    last_change_at BIGINT,               -- when current_version was promoted or stored
    last_key_change_at BIGINT,           -- when current_key_version was
    last_test_at BIGINT,                 -- last check that gave a verdict
    last_test TEXT NOT NULL CHECK (last_test IN ('never_tested', 'passed', 'out_of_sync', 'unreachable')), -- its verdict
    in_doubt SMALLINT NOT NULL,          -- the current password may have been replaced on the target: 1, not settled; 2, an older order may land yet
    key_in_doubt SMALLINT NOT NULL,      -- so may the current key pair
    domain_name TEXT,                    -- NULL where not given
    distinguished_name TEXT,             -- NULL where not given
    user_principal_name TEXT,            -- NULL where not given
    sam_account_name TEXT,               -- NULL where not given
    description TEXT,                    -- NULL where not given
    password_rule_id BIGINT NOT NULL,    -- rule for generated passwords
    key_rule_id BIGINT NOT NULL,         -- rule for generated key pairs
    api_enabled SMALLINT NOT NULL,       -- requestable through the dialect
    auto_management SMALLINT NOT NULL,   -- 1: changes itself when due
    dss_auto_management SMALLINT NOT NULL, -- 1: has a key pair that is generated
    use_own_credentials SMALLINT NOT NULL, -- 1: changes itself; no functional account does
    check_password SMALLINT NOT NULL,    -- 1: tested daily
    reset_on_mismatch SMALLINT NOT NULL, -- 1: a refused test queues a change
    change_frequency_type TEXT NOT NULL CHECK (change_frequency_type IN ('first', 'last', 'xdays')), -- vendor's schedule
    change_frequency_days BIGINT,        -- for xdays
    change_time TEXT NOT NULL,           -- HH:MM, UTC
    policy_id BIGINT REFERENCES policies (id), -- its own policy; wins over the system's
    next_override_at BIGINT,             -- the next change, set by hand; once
    extras TEXT NOT NULL,                -- dialect fields that are kept and shown, as JSON
    revision BIGINT NOT NULL,            -- counts edits; the ETag
    created_at BIGINT NOT NULL,          -- when it was made
    deleted_at BIGINT,                   -- when it was deleted; versions are kept
    UNIQUE (system_id, target_id)
);
CREATE INDEX accounts_system ON accounts (system_id, id);
CREATE INDEX accounts_name ON accounts (name_key, system_id);
CREATE INDEX accounts_policy ON accounts (policy_id) WHERE policy_id IS NOT NULL;
CREATE INDEX accounts_unsure ON accounts (id)
    WHERE deleted_at IS NULL AND (in_doubt <> 0 OR key_in_doubt <> 0 OR last_test = 'out_of_sync');

-- Functional accounts whose credential is a managed account's: one linked record.
CREATE TABLE functional_links (
    functional_account_id BIGINT PRIMARY KEY REFERENCES functional_accounts (id), -- which
    account_id BIGINT NOT NULL UNIQUE REFERENCES accounts (id), -- whose credential it logs in with
    system_id BIGINT NOT NULL REFERENCES systems (id), -- where that account lives
    wanted_until BIGINT NOT NULL,        -- until then nothing else begins on the systems that use it
    linked_at BIGINT NOT NULL            -- when it was linked
);
CREATE INDEX functional_links_home ON functional_links (system_id);

-- The hot columns of an account.
CREATE TABLE schedule (
    account_id BIGINT PRIMARY KEY REFERENCES accounts (id), -- the account
    system_id BIGINT NOT NULL,           -- its system
    next_change_at BIGINT,               -- when it is due; NULL: never by itself
    next_test_at BIGINT,                 -- when it is to be tested; NULL: never by itself
    flag_at BIGINT,                      -- when it is to be flagged, where nothing changes it by itself
    stale_at BIGINT,                     -- since when it is flagged stale; NULL: fresh
    open_job SMALLINT NOT NULL           -- 1: a job is queued or running
);
CREATE INDEX schedule_due ON schedule (next_change_at, account_id) WHERE open_job = 0 AND next_change_at IS NOT NULL;
CREATE INDEX schedule_test ON schedule (next_test_at, account_id) WHERE open_job = 0 AND next_test_at IS NOT NULL;
CREATE INDEX schedule_flag ON schedule (flag_at, account_id) WHERE stale_at IS NULL AND flag_at IS NOT NULL;
CREATE INDEX schedule_stale ON schedule (stale_at) WHERE stale_at IS NOT NULL;
CREATE INDEX schedule_system ON schedule (system_id, account_id);

-- Every secret of an account, from the moment it was staged.
CREATE TABLE credential_versions (
    account_id BIGINT NOT NULL REFERENCES accounts (id), -- whose
    version BIGINT NOT NULL,             -- counts up from 1, over both parts
    part TEXT NOT NULL CHECK (part IN ('password', 'key')), -- which part of the credential
    sealed BYTEA NOT NULL,               -- the password, or the private key as it was given
    passphrase BYTEA,                    -- the private key's, sealed; NULL where there is none
    public_key TEXT,                     -- of a key pair: algorithm and base64, no comment
    origin TEXT NOT NULL CHECK (origin IN ('generated', 'supplied', 'stored', 'synced')), -- where it came from
    staged_at BIGINT NOT NULL,           -- when it was recorded
    last_sent_at BIGINT,                 -- when it was last on its way to the target
    accepted_at BIGINT,                  -- last conclusive accept
    retired_at BIGINT,                   -- since when it is out of use
    removed_at BIGINT,                   -- of a key pair: since when its line is gone from the target
    PRIMARY KEY (account_id, version)
);

-- Rotations: each moves an account from one version to the next.
CREATE TABLE rotations (
    id BIGINT PRIMARY KEY,               -- dense
    account_id BIGINT NOT NULL REFERENCES accounts (id), -- whose
    part TEXT NOT NULL CHECK (part IN ('password', 'key')), -- which part of the credential
    epoch BIGINT NOT NULL,               -- accounts.epoch when it was opened
    phase TEXT NOT NULL CHECK (phase IN ('ready', 'staged', 'applying', 'applied', 'verified', 'committed', 'abandoned', 'needs_operator')), -- where it stands
    doubt SMALLINT NOT NULL,             -- 1: an apply ended without an answer; never cleared
    version BIGINT NOT NULL,             -- the candidate
    base_version BIGINT,                 -- the part's current one when it was opened
    applies BIGINT NOT NULL,             -- how often the candidate was sent
    why TEXT NOT NULL,                   -- the last decoded reason
    opened_at BIGINT NOT NULL,           -- when it was opened
    moved_at BIGINT NOT NULL,            -- last step
    UNIQUE (account_id, epoch)
);
CREATE UNIQUE INDEX rotations_open ON rotations (account_id, part) WHERE phase IN ('ready', 'staged', 'applying', 'applied', 'verified', 'needs_operator');

-- Failing logins that Keywheel has caused or was about to cause.
CREATE TABLE login_budget (
    account_id BIGINT PRIMARY KEY REFERENCES accounts (id), -- whose
    window_at BIGINT NOT NULL,           -- when a login was last counted; a window later nothing is spent
    spent BIGINT NOT NULL                -- counted before each login is sent
);

-- Open work only; what has ended is in job_history.
CREATE TABLE jobs (
    id BIGINT PRIMARY KEY,               -- below 2^53
    account_id BIGINT NOT NULL,          -- whose credential
    system_id BIGINT NOT NULL,           -- its system
    kind TEXT NOT NULL CHECK (kind IN ('rotate', 'test')), -- what to do
    cause TEXT NOT NULL,                 -- schedule, order, quarantine, mismatch, release, sync, operator
    actor TEXT NOT NULL,                 -- who ordered it
    priority BIGINT NOT NULL,            -- 0 immediate, 1 quarantine, 2 routine
    run_at BIGINT NOT NULL,              -- not before
    state TEXT NOT NULL CHECK (state IN ('queued', 'running')), -- open states
    claim_id BIGINT,                     -- whose it is while running
    attempt BIGINT NOT NULL,             -- counted when claimed
    again SMALLINT NOT NULL,             -- 1: ordered once more while running
    again_priority BIGINT NOT NULL,      -- with which priority
    parts BIGINT NOT NULL,               -- still to do: 1 password, 2 key pair, 4 removal of old keys; 0 all the account has
    version BIGINT,                      -- the supplied password, if one was given
    key_version BIGINT,                  -- the supplied key pair, if one was given
    queued_at BIGINT NOT NULL            -- when it was first ordered
);
CREATE UNIQUE INDEX jobs_open ON jobs (account_id) WHERE state IN ('queued', 'running');
CREATE INDEX jobs_queue ON jobs (system_id, priority, run_at, id) WHERE state = 'queued';
CREATE INDEX jobs_age ON jobs (queued_at, id) WHERE state = 'queued';
CREATE INDEX jobs_claim ON jobs (claim_id) WHERE state = 'running';

-- One batch of one system, held by one node: the lease and its token.
CREATE TABLE claims (
    id BIGINT PRIMARY KEY,               -- the token
    system_id BIGINT NOT NULL,           -- whose accounts
    node_id BIGINT NOT NULL,             -- who holds it
    priority BIGINT NOT NULL,            -- the class it was claimed in
    jobs BIGINT NOT NULL,                -- how many
    claimed_at BIGINT NOT NULL           -- when
);
CREATE INDEX claims_node ON claims (node_id);

-- Every attempt that has ended.
CREATE TABLE job_history (
    job_id BIGINT NOT NULL,              -- the job
    claim_id BIGINT NOT NULL,            -- the attempt's claim; 0 where none was needed
    account_id BIGINT NOT NULL,          -- whose credential
    system_id BIGINT NOT NULL,           -- its system
    kind TEXT NOT NULL,                  -- rotate, test
    cause TEXT NOT NULL,                 -- as in jobs
    actor TEXT NOT NULL,                 -- who ordered it
    priority BIGINT NOT NULL,            -- as in jobs
    outcome TEXT NOT NULL CHECK (outcome IN ('succeeded', 'failed', 'needs_operator', 'retried')), -- retried: another attempt follows
    class TEXT NOT NULL,                 -- error class; '' where none
    why TEXT NOT NULL,                   -- the attempt's log, decoded
    attempt BIGINT NOT NULL,             -- which attempt
    queued_at BIGINT NOT NULL,           -- when the job was ordered
    started_at BIGINT NOT NULL,          -- when the attempt was claimed
    ended_at BIGINT NOT NULL,            -- when the attempt was settled
    PRIMARY KEY (job_id, claim_id)
);
CREATE INDEX job_history_account ON job_history (account_id, ended_at);

-- Bulk changes of one system.
CREATE TABLE quarantines (
    id BIGINT PRIMARY KEY,               -- below 2^53
    system_id BIGINT NOT NULL REFERENCES systems (id), -- which system
    reason TEXT NOT NULL,                -- '' from the dialect, which has no field for it
    incident TEXT,                       -- a reference elsewhere
    actor TEXT NOT NULL,                 -- who ordered it
    accounts BIGINT NOT NULL,            -- how many accounts it covers so far
    ordered_to BIGINT,                   -- the last account ordered; NULL once all are
    ordered_at BIGINT NOT NULL,          -- when
    finished_at BIGINT                   -- when the last account was settled
);
CREATE INDEX quarantines_open ON quarantines (system_id, id) WHERE finished_at IS NULL;

-- Which job serves which account of a bulk change; a job may serve several.
CREATE TABLE quarantine_accounts (
    quarantine_id BIGINT NOT NULL,       -- the bulk change; no foreign key, it costs as much as the insert
    account_id BIGINT NOT NULL,          -- the account
    job_id BIGINT NOT NULL,              -- its job
    PRIMARY KEY (quarantine_id, account_id)
);

-- Listings of the accounts that a system has.
CREATE TABLE discoveries (
    id BIGINT PRIMARY KEY,               -- below 2^53
    system_id BIGINT NOT NULL REFERENCES systems (id), -- which system
    query TEXT NOT NULL,                 -- what is listed, as JSON
    actor TEXT NOT NULL,                 -- who ordered it
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed')), -- how far it has come
    node_id BIGINT,                      -- who runs it; NULL while nobody does
    attempt BIGINT NOT NULL,             -- counted when claimed
    class TEXT NOT NULL,                 -- error class; '' where none
    why TEXT NOT NULL,                   -- the decoded reason of a failure; '' where none
    found BIGINT NOT NULL,               -- accounts that were found
    unreadable BIGINT NOT NULL,          -- rows of the target that were no account
    truncated SMALLINT NOT NULL,         -- 1: the target has more
    queued_at BIGINT NOT NULL,           -- when it was ordered
    started_at BIGINT,                   -- when a node last began
    ended_at BIGINT                      -- when it ended
);
CREATE UNIQUE INDEX discoveries_open ON discoveries (system_id) WHERE state IN ('queued', 'running');
CREATE INDEX discoveries_queue ON discoveries (id) WHERE state = 'queued';
CREATE INDEX discoveries_running ON discoveries (node_id) WHERE state = 'running';
CREATE INDEX discoveries_system ON discoveries (system_id, id);

-- What the newest successful discovery of each system has found.
CREATE TABLE discovered_accounts (
    system_id BIGINT NOT NULL REFERENCES systems (id), -- where it lives
    row_number BIGINT NOT NULL,          -- its place in the list, from 1
    discovery_id BIGINT NOT NULL,        -- which discovery
    target_id TEXT NOT NULL,             -- accounts.target_id of the account that an import makes
    name_id TEXT NOT NULL,               -- the same of an account without a DN
    name TEXT NOT NULL,                  -- login name, escaped where it cannot be shown
    importable SMALLINT NOT NULL,        -- 1: an account of it can be handed to the target
    distinguished_name TEXT,             -- directories only
    stable_id TEXT,                      -- user id, UUID or GUID; NULL where hidden
    shell TEXT,                          -- login shell; NULL where unknown
    lock_state TEXT NOT NULL CHECK (lock_state IN ('open', 'locked', 'no_password', 'unknown')), -- whether a password opens it
    last_change_at BIGINT,               -- when its password was set; NULL where unknown
    expired SMALLINT,                    -- 1: to be changed first, or run out; NULL where unknown
    PRIMARY KEY (system_id, row_number)
);

-- Nodes that share the work; a node's id is new at every start.
CREATE TABLE nodes (
    id BIGINT PRIMARY KEY,               -- dense
    name TEXT NOT NULL,                  -- host name, to read
    beat BIGINT NOT NULL,                -- raised while it lives; peers watch it change
    state TEXT NOT NULL CHECK (state IN ('alive', 'dead')), -- dead once reaped
    started_at BIGINT NOT NULL           -- when it came
);

-- Which tick ran last, and which node may run the next.
CREATE TABLE ticks (
    name TEXT PRIMARY KEY,               -- stale_scan, reaper, …
    next_at BIGINT NOT NULL,             -- not before
    node_id BIGINT NOT NULL,             -- who ran it last
    succeeded_at BIGINT NOT NULL         -- when it last completed; 0 never
);

-- What happened, and who did it. Rows commit with the change they describe.
CREATE TABLE audit (
    id BIGINT PRIMARY KEY,               -- below 2^53
    at BIGINT NOT NULL,                  -- when
    actor TEXT NOT NULL,                 -- user name, node, or system
    event TEXT NOT NULL,                 -- for example rotation.intended
    subject TEXT NOT NULL,               -- for example account 7
    body TEXT NOT NULL,                  -- details as JSON; never a secret
    seq BIGINT,                          -- its place in the chain, from 1, without gaps; NULL until sealed
    mac BYTEA                            -- HMAC-SHA-256 over the row and the mac before it; NULL until sealed
);
CREATE INDEX audit_subject ON audit (subject, id);
CREATE INDEX audit_unsealed ON audit (id) WHERE seq IS NULL;
CREATE UNIQUE INDEX audit_seq ON audit (seq) WHERE seq IS NOT NULL;

-- The newest link of the audit chain; absent until the first row was sealed.
CREATE TABLE audit_head (
    one SMALLINT PRIMARY KEY CHECK (one = 1), -- there is one chain
    seq BIGINT NOT NULL,                 -- of the newest sealed row
    mac BYTEA NOT NULL                   -- of the same
);

-- The keys of the audit trail: one seals its rows, one signs its anchors.
CREATE TABLE audit_keys (
    one SMALLINT PRIMARY KEY CHECK (one = 1), -- there is one pair
    chain BYTEA NOT NULL,                -- the sealed key of the chain
    anchor BYTEA NOT NULL,               -- the sealed key that signs anchors
    created_at BIGINT NOT NULL           -- when they were drawn
);

-- The newest anchors; what counts is their copy outside of this database.
CREATE TABLE audit_anchors (
    at BIGINT PRIMARY KEY,               -- when it was signed
    store TEXT NOT NULL,                 -- store_identity.uuid
    seq BIGINT NOT NULL,                 -- of the newest sealed row
    mac BYTEA NOT NULL,                  -- of the same
    signature TEXT NOT NULL              -- Ed25519 over store, seq, mac and time, in hex digits
);

-- Groups of users, and what they permit.
CREATE TABLE user_groups (
    id BIGINT PRIMARY KEY,               -- dense
    name TEXT NOT NULL,                  -- as given
    name_key TEXT NOT NULL UNIQUE,       -- lower-cased
    description TEXT NOT NULL,           -- what it is for
    active SMALLINT NOT NULL,            -- 0: it grants nothing
    created_at BIGINT NOT NULL           -- when it was made
);

-- Who is in which group.
CREATE TABLE group_members (
    user_id BIGINT NOT NULL REFERENCES users (id),        -- who
    group_id BIGINT NOT NULL REFERENCES user_groups (id), -- in which
    PRIMARY KEY (user_id, group_id)
);
CREATE INDEX group_members_group ON group_members (group_id, user_id);

-- Password Safe feature permissions of groups.
CREATE TABLE group_features (
    group_id BIGINT NOT NULL REFERENCES user_groups (id), -- whose
    feature BIGINT NOT NULL,             -- PermissionID
    level BIGINT NOT NULL CHECK (level IN (1, 2)), -- 1 read, 2 read and write
    PRIMARY KEY (group_id, feature)
);

-- What else groups permit.
CREATE TABLE group_grants (
    group_id BIGINT NOT NULL REFERENCES user_groups (id), -- whose
    permission TEXT NOT NULL,            -- for example audit.read
    PRIMARY KEY (group_id, permission)
);

-- Selections of accounts, systems or assets.
CREATE TABLE smart_rules (
    id BIGINT PRIMARY KEY,               -- dense
    title TEXT NOT NULL,                 -- as given
    title_key TEXT NOT NULL UNIQUE,      -- lower-cased
    description TEXT NOT NULL,           -- what it is for
    category TEXT NOT NULL,              -- its heading
    kind TEXT NOT NULL CHECK (kind IN ('account', 'asset', 'system')), -- what it holds
    everything SMALLINT NOT NULL,        -- 1: built in, holds all of its kind
    processed_at BIGINT NOT NULL         -- when it was last made or processed
);
INSERT INTO smart_rules VALUES (1, 'All Managed Accounts', 'all managed accounts', 'Every managed account', 'Built in', 'account', 1, 0);
INSERT INTO smart_rules VALUES (2, 'All Assets', 'all assets', 'Every asset', 'Built in', 'asset', 1, 0);
INSERT INTO ids VALUES ('smart rule', 3);

-- What a rule with fixed members holds.
CREATE TABLE smart_rule_members (
    rule_id BIGINT NOT NULL REFERENCES smart_rules (id), -- which rule
    member_id BIGINT NOT NULL,           -- an account, asset or system, by the rule's kind
    PRIMARY KEY (rule_id, member_id)
);

-- How credentials are asked for.
CREATE TABLE access_policies (
    id BIGINT PRIMARY KEY,               -- dense; 1 is built in
    name TEXT NOT NULL,                  -- as given
    name_key TEXT NOT NULL UNIQUE,       -- lower-cased
    description TEXT NOT NULL,           -- what it is for
    revision BIGINT NOT NULL             -- counts edits; the guard of the next
);
INSERT INTO access_policies VALUES (1, 'Always open', 'always open', 'At any time, without approval', 1);
INSERT INTO ids VALUES ('access policy', 2);

-- When credentials are asked for, and on what terms.
CREATE TABLE access_schedules (
    id BIGINT PRIMARY KEY,               -- dense; AccessPolicyScheduleID
    policy_id BIGINT NOT NULL REFERENCES access_policies (id), -- of which policy
    name TEXT NOT NULL,                  -- as given
    windows TEXT NOT NULL,               -- a JSON list of cron, duration and zone; '[]' always
    approvals BIGINT NOT NULL,           -- how many must approve; 0 nobody
    rotation_override SMALLINT NOT NULL, -- 1: whoever asks may waive the change after the release
    outlasts_window SMALLINT NOT NULL    -- 1: a request may last longer than the window
);
CREATE INDEX access_schedules_policy ON access_schedules (policy_id, id);
INSERT INTO access_schedules VALUES (1, 1, 'Always', '[]', 0, 0, 0);
INSERT INTO ids VALUES ('access schedule', 2);

-- Roles of groups on rules.
CREATE TABLE rule_roles (
    group_id BIGINT NOT NULL REFERENCES user_groups (id), -- whose
    rule_id BIGINT NOT NULL REFERENCES smart_rules (id),  -- on which
    role BIGINT NOT NULL,                -- RoleID
    access_policy BIGINT REFERENCES access_policies (id), -- how credentials are asked for; NULL where nobody asks
    PRIMARY KEY (group_id, rule_id, role)
);
CREATE INDEX rule_roles_rule ON rule_roles (rule_id);
CREATE INDEX rule_roles_policy ON rule_roles (access_policy);

-- Who asks for which credential, and until when it is theirs.
CREATE TABLE requests (
    id BIGINT PRIMARY KEY,               -- dense
    user_id BIGINT NOT NULL REFERENCES users (id),       -- who asks
    account_id BIGINT NOT NULL REFERENCES accounts (id), -- for what
    system_id BIGINT NOT NULL REFERENCES systems (id),   -- on which system
    state TEXT NOT NULL CHECK (state IN ('pending', 'active', 'checked_in', 'expired', 'canceled', 'denied')), -- where it stands
    reason TEXT NOT NULL,                -- '' where nobody said
    rotates SMALLINT NOT NULL,           -- 1: the credential changes when it ends
    approvals_needed BIGINT NOT NULL,    -- how many must approve
    requested_at BIGINT NOT NULL,        -- when it was made
    approved_at BIGINT,                  -- since when it opens something
    expires_at BIGINT NOT NULL,          -- when it ends by itself
    ended_at BIGINT                      -- when it ended
);
CREATE INDEX requests_live ON requests (expires_at, id) WHERE state IN ('pending', 'active');
CREATE INDEX requests_account ON requests (account_id) WHERE state IN ('pending', 'active');
CREATE INDEX requests_user ON requests (user_id, id);

-- Who has approved which request.
CREATE TABLE request_approvals (
    request_id BIGINT NOT NULL REFERENCES requests (id), -- which
    user_id BIGINT NOT NULL REFERENCES users (id),       -- who
    approved_at BIGINT NOT NULL,         -- when
    PRIMARY KEY (request_id, user_id)
);

-- What OAuth clients sign in with for a while; only hashes are kept.
CREATE TABLE access_tokens (
    hash TEXT PRIMARY KEY,                         -- SHA-256 of the token, hex
    key_id BIGINT NOT NULL REFERENCES api_keys (id), -- which registration got it
    created_at BIGINT NOT NULL,                    -- when it was made
    expires_at BIGINT NOT NULL                     -- when it ends
);
CREATE INDEX access_tokens_expiry ON access_tokens (expires_at);

-- Synced accounts: a subscriber takes over its parent's passwords.
CREATE TABLE subscriptions (
    account_id BIGINT PRIMARY KEY REFERENCES accounts (id), -- the subscriber
    parent_id BIGINT NOT NULL REFERENCES accounts (id), -- whose passwords it takes over
    joined_version BIGINT,               -- the parent's password when it joined; NULL: it had none
    told_version BIGINT,                 -- the parent's password that it was last told to take over
    told_at BIGINT NOT NULL,             -- when it was
    job_id BIGINT,                       -- its own job that last waited for the parent
    waits_for BIGINT,                    -- the parent's job that it waited for
    subscribed_at BIGINT NOT NULL        -- since when it is a subscriber
);
CREATE INDEX subscriptions_parent ON subscriptions (parent_id);

-- Which version of a subscriber is which version of its parent.
CREATE TABLE synced_versions (
    account_id BIGINT NOT NULL,          -- the subscriber
    version BIGINT NOT NULL,             -- its version
    parent_id BIGINT NOT NULL,           -- whose password it is
    parent_version BIGINT NOT NULL,      -- under which number
    PRIMARY KEY (account_id, version)
);

-- What users sign in with, beside keys; only hashes are kept.
CREATE TABLE user_passwords (
    user_id BIGINT PRIMARY KEY REFERENCES users (id), -- whose
    hash TEXT NOT NULL,                            -- argon2id with salt and cost, a PHC string
    set_at BIGINT NOT NULL,                        -- when it was set
    used_at BIGINT                                 -- when somebody last signed in with it
);

-- Second factors; a user has at most one.
CREATE TABLE user_totp (
    user_id BIGINT PRIMARY KEY REFERENCES users (id), -- whose
    sealed BYTEA NOT NULL,                         -- the secret of the codes
    enrolled_at BIGINT NOT NULL,                   -- when the secret was drawn
    confirmed_at BIGINT,                           -- since when sign-ins need a code
    last_step BIGINT NOT NULL,                     -- the last step of 30 s whose code was used
    wrong_codes BIGINT NOT NULL                    -- since the last right one; too many, and none is taken
);

-- What replaces a second factor that is lost, each once; only hashes are kept.
CREATE TABLE recovery_codes (
    user_id BIGINT NOT NULL REFERENCES user_totp (user_id), -- whose
    hash TEXT NOT NULL,                            -- SHA-256 of the code, hex
    used_at BIGINT,                                -- when it was used
    PRIMARY KEY (user_id, hash)
);

-- Sessions of the native API that users opened with their passwords.
CREATE TABLE user_sessions (
    id BIGINT PRIMARY KEY,                         -- dense
    hash TEXT NOT NULL UNIQUE,                     -- SHA-256 of the cookie, hex
    user_id BIGINT NOT NULL REFERENCES users (id), -- who signed in
    address TEXT NOT NULL,                         -- from where; '' where nobody knows
    created_at BIGINT NOT NULL,                    -- sign-in
    seen_at BIGINT NOT NULL                        -- last call, at a minute's grain
);
CREATE INDEX user_sessions_user ON user_sessions (user_id, id);

-- Customers or departments whose passwords are documented.
CREATE TABLE organizations (
    id BIGINT PRIMARY KEY,                         -- dense
    name TEXT NOT NULL,                            -- as given
    name_key TEXT NOT NULL UNIQUE,                 -- lower-cased
    short_name TEXT,                               -- NULL where not given
    description TEXT,                              -- NULL where not given
    alert TEXT,                                    -- NULL where not given
    quick_notes TEXT,                              -- NULL where not given; perhaps in HTML
    kind BIGINT NOT NULL,                          -- number of its type
    status BIGINT NOT NULL,                        -- number of its status
    is_primary SMALLINT NOT NULL,                  -- 1: whose service this is
    parent_id BIGINT REFERENCES organizations (id), -- the one that it is a part of
    created_at BIGINT NOT NULL,                    -- when it was made
    updated_at BIGINT NOT NULL                     -- last edit
);

-- Categories of password records.
CREATE TABLE password_categories (
    id BIGINT PRIMARY KEY,                         -- dense
    name TEXT NOT NULL,                            -- as given
    name_key TEXT NOT NULL UNIQUE,                 -- lower-cased
    created_at BIGINT NOT NULL,                    -- when it was made; 0: with the store
    updated_at BIGINT NOT NULL                     -- last edit; 0: none
);
INSERT INTO password_categories VALUES (1, 'Administrative', 'administrative', 0, 0);
INSERT INTO password_categories VALUES (2, 'Application', 'application', 0, 0);
INSERT INTO password_categories VALUES (3, 'Network', 'network', 0, 0);
INSERT INTO password_categories VALUES (4, 'Service Account', 'service account', 0, 0);
INSERT INTO password_categories VALUES (5, 'User', 'user', 0, 0);
INSERT INTO password_categories VALUES (6, 'Vendor', 'vendor', 0, 0);
INSERT INTO password_categories VALUES (7, 'Cloud', 'cloud', 0, 0);
INSERT INTO ids VALUES ('password category', 8);

-- Folders of password records: a tree in each organization.
CREATE TABLE password_folders (
    id BIGINT PRIMARY KEY,                         -- dense
    organization_id BIGINT NOT NULL REFERENCES organizations (id), -- whose
    parent_id BIGINT REFERENCES password_folders (id), -- the folder that it is in; NULL at the top
    parent_key BIGINT NOT NULL,                    -- the same, 0 at the top: NULLs are never equal
    name TEXT NOT NULL,                            -- as given
    name_key TEXT NOT NULL,                        -- lower-cased
    restricted SMALLINT NOT NULL,                  -- 1: open only to those in password_readers
    gate_id BIGINT,                                -- the nearest restricted folder of itself and those above
    created_at BIGINT NOT NULL,                    -- when it was made
    updated_at BIGINT NOT NULL,                    -- last edit
    UNIQUE (organization_id, parent_key, name_key)
);
CREATE INDEX password_folders_parent ON password_folders (parent_id);

-- Documented passwords: what lists look at.
CREATE TABLE password_records (
    id BIGINT PRIMARY KEY,                         -- dense
    organization_id BIGINT NOT NULL REFERENCES organizations (id), -- whose
    category_id BIGINT REFERENCES password_categories (id), -- NULL: none
    folder_id BIGINT REFERENCES password_folders (id), -- NULL: none
    gate_id BIGINT,                                -- its folder's
    account_id BIGINT REFERENCES accounts (id),    -- the managed account whose credential it shows
    restricted SMALLINT NOT NULL,                  -- 1: seen only by those in password_readers
    archived SMALLINT NOT NULL,                    -- 1: put away
    shareable SMALLINT NOT NULL,                   -- 1: may be shared
    otp_enabled SMALLINT NOT NULL,                 -- 1: it has the secret of one-time codes
    resource_id BIGINT,                            -- of what it is embedded in, outside; NULL: in nothing
    rule_id BIGINT NOT NULL,                       -- rule for values that are generated
    version BIGINT,                                -- its value in password_versions; NULL: none, or an account's
    value_changed_at BIGINT,                       -- when that became the value
    said_changed_at BIGINT,                        -- when it did, as its maker said; NULL: as above
    updated_by BIGINT REFERENCES users (id),       -- who last changed it
    created_at BIGINT NOT NULL,                    -- when it was made
    updated_at BIGINT NOT NULL,                    -- last edit
    revision BIGINT NOT NULL,                      -- counts edits; the ETag
    resource_type TEXT,                            -- of what it is embedded in
    name TEXT NOT NULL,                            -- as given
    name_key TEXT NOT NULL,                        -- lower-cased
    username TEXT,                                 -- as given; NULL where none is, or an account's
    username_key TEXT,                             -- lower-cased
    url TEXT,                                      -- as given
    url_key TEXT,                                  -- lower-cased
    resource_name TEXT,                            -- what it is embedded in is called
    resource_name_key TEXT                         -- lower-cased
);
CREATE INDEX password_records_organization ON password_records (organization_id, id);
CREATE INDEX password_records_name ON password_records (name_key, id);
CREATE INDEX password_records_username ON password_records (username_key, id) WHERE account_id IS NULL;
CREATE INDEX password_records_url ON password_records (url_key, id);
CREATE INDEX password_records_created ON password_records (created_at, id);
CREATE INDEX password_records_updated ON password_records (updated_at, id);
CREATE INDEX password_records_changed ON password_records (COALESCE(said_changed_at, value_changed_at), id) WHERE account_id IS NULL;
CREATE INDEX password_records_folder ON password_records (folder_id, id);
CREATE INDEX password_records_category ON password_records (category_id, id);
CREATE INDEX password_records_resource_name ON password_records (resource_name_key, id) WHERE account_id IS NULL;
CREATE INDEX password_records_resource_type ON password_records (resource_type, id) WHERE account_id IS NULL;
CREATE INDEX password_records_account ON password_records (account_id) WHERE account_id IS NOT NULL;

-- Documented passwords: what is long, and read one record at a time.
CREATE TABLE password_texts (
    record_id BIGINT PRIMARY KEY REFERENCES password_records (id), -- whose
    notes TEXT,                                    -- as given; perhaps in HTML
    search_key TEXT NOT NULL,                      -- name, URL and notes, a line each, lower-cased
    autofill_selectors TEXT,                       -- for browser extensions
    otp BYTEA                                      -- the secret of one-time codes, sealed
);

-- Every value that a record has or had.
CREATE TABLE password_versions (
    id BIGINT PRIMARY KEY,                         -- dense
    record_id BIGINT NOT NULL REFERENCES password_records (id), -- whose
    sealed BYTEA NOT NULL,                         -- the value
    created_at BIGINT NOT NULL,                    -- when it became the value
    created_by BIGINT REFERENCES users (id)        -- who set it
);
CREATE INDEX password_versions_record ON password_versions (record_id, id);

-- Who sees restricted records and folders.
CREATE TABLE password_readers (
    record_id BIGINT REFERENCES password_records (id), -- which record, or
    folder_id BIGINT REFERENCES password_folders (id), -- which folder
    user_id BIGINT REFERENCES users (id),          -- who, or
    group_id BIGINT REFERENCES user_groups (id),   -- which group
    CHECK ((record_id IS NULL) <> (folder_id IS NULL)),
    CHECK ((user_id IS NULL) <> (group_id IS NULL))
);
CREATE INDEX password_readers_record ON password_readers (record_id) WHERE record_id IS NOT NULL;
CREATE INDEX password_readers_folder ON password_readers (folder_id) WHERE folder_id IS NOT NULL;
CREATE INDEX password_readers_user ON password_readers (user_id);
CREATE INDEX password_readers_group ON password_readers (group_id);

-- When a user last had which value before them.
CREATE TABLE last_accesses (
    user_id BIGINT NOT NULL REFERENCES users (id), -- who
    kind TEXT NOT NULL CHECK (kind IN ('account', 'record')), -- an account's value, or a record's own
    subject_id BIGINT NOT NULL,                    -- which account or record
    action TEXT NOT NULL,                          -- how: an access method, created, updated or imported
    at BIGINT NOT NULL,                            -- when
    PRIMARY KEY (user_id, kind, subject_id)
);

-- Workflows: who is told that somebody has seen a password.
CREATE TABLE workflows (
    id BIGINT PRIMARY KEY,                         -- dense
    name TEXT NOT NULL,                            -- as given
    name_key TEXT NOT NULL,                        -- lower-cased
    kind TEXT NOT NULL CHECK (kind IN ('password_access')), -- what sets it off
    failure_email TEXT NOT NULL,                   -- who is told that a notice was not delivered
    state TEXT NOT NULL CHECK (state IN ('on', 'off', 'deleted')), -- on: reveals make deliveries
    filters TEXT NOT NULL,                         -- a JSON list of field, operator and values
    revision BIGINT NOT NULL,                      -- counts edits; the guard of the next
    created_at BIGINT NOT NULL,                    -- when it was made
    updated_at BIGINT NOT NULL                     -- last edit
);
CREATE UNIQUE INDEX workflows_name ON workflows (name_key) WHERE state IN ('on', 'off');
CREATE INDEX workflows_on ON workflows (id) WHERE state = 'on';

-- What workflows do. An action that was removed stays for the deliveries that are left.
CREATE TABLE workflow_actions (
    id BIGINT PRIMARY KEY,                         -- dense
    workflow_id BIGINT NOT NULL REFERENCES workflows (id), -- of which workflow
    position BIGINT NOT NULL,                      -- its place, from 0; -1 of a removed one
    name TEXT NOT NULL,                            -- as given
    channel TEXT NOT NULL CHECK (channel IN ('email', 'webhook', 'slack')), -- by which way
    content TEXT NOT NULL,                         -- its templates and recipients, as JSON
    masked_url TEXT,                               -- where to, without the secret part
    url BYTEA,                                     -- where to, sealed; NULL of a mail
    signing_secret BYTEA,                          -- sealed; NULL but of a webhook
    retired_at BIGINT,                             -- when it was removed
    failed BIGINT NOT NULL,                        -- failed deliveries that no alert has told yet
    failed_delivery BIGINT,                        -- the last of them
    alerted_at BIGINT                              -- when the last alert was made
);
CREATE INDEX workflow_actions_workflow ON workflow_actions (workflow_id, position);
CREATE INDEX workflow_actions_failed ON workflow_actions (id) WHERE failed > 0;

-- The outbox: what is sent, and what became of it.
CREATE TABLE deliveries (
    id BIGINT PRIMARY KEY,                         -- dense; webhook-id
    workflow_id BIGINT NOT NULL REFERENCES workflows (id), -- by which workflow
    action_id BIGINT NOT NULL REFERENCES workflow_actions (id), -- by which of its actions
    kind TEXT NOT NULL CHECK (kind IN ('notice', 'alert')), -- an alert says that notices failed
    channel TEXT NOT NULL CHECK (channel IN ('email', 'webhook', 'slack')), -- by which way
    event_id TEXT NOT NULL,                        -- of which reveal
    event_at BIGINT NOT NULL,                      -- when that was
    about TEXT NOT NULL,                           -- what was seen, by name
    recipients TEXT NOT NULL,                      -- of a mail, as a JSON list
    subject TEXT NOT NULL,                         -- of a mail
    body TEXT NOT NULL,                            -- rendered
    state TEXT NOT NULL CHECK (state IN ('pending', 'sending', 'sent', 'failed')), -- where it stands
    due_at BIGINT NOT NULL,                        -- when it is tried next
    tries BIGINT NOT NULL,                         -- attempts since it was queued
    attempts BIGINT NOT NULL,                      -- attempts in all
    node_id BIGINT,                                -- which node sends it
    error TEXT NOT NULL,                           -- why the last attempt failed
    queued_at BIGINT NOT NULL,                     -- when it was queued, or queued again
    ended_at BIGINT                                -- when it was sent or failed
);
CREATE INDEX deliveries_due ON deliveries (action_id, kind, due_at, id) WHERE state = 'pending';
CREATE INDEX deliveries_sending ON deliveries (node_id) WHERE state = 'sending';
CREATE INDEX deliveries_oldest ON deliveries (queued_at) WHERE state IN ('pending', 'sending');
CREATE INDEX deliveries_workflow ON deliveries (workflow_id, id);
CREATE INDEX deliveries_ended ON deliveries (ended_at) WHERE state IN ('sent', 'failed');

-- What became of each attempt.
CREATE TABLE delivery_attempts (
    delivery_id BIGINT NOT NULL REFERENCES deliveries (id), -- of which delivery
    number BIGINT NOT NULL,                        -- from 1
    at BIGINT NOT NULL,                            -- when it began
    took_ms BIGINT NOT NULL,                       -- how long it took
    status BIGINT,                                 -- the HTTP status or SMTP code of the answer
    error TEXT NOT NULL,                           -- '' if it was taken
    PRIMARY KEY (delivery_id, number)
);

-- Exports that were ordered. A file is made when it is fetched, and kept nowhere.
CREATE TABLE exports (
    id BIGINT PRIMARY KEY,                         -- dense
    user_id BIGINT NOT NULL REFERENCES users (id), -- who ordered it
    organization_id BIGINT REFERENCES organizations (id), -- of which one; NULL: of all
    include_logs SMALLINT NOT NULL,                -- 1: with what the audit trail says of its records
    zip_password BYTEA,                            -- what the file is encrypted under, sealed; NULL: it is not
    created_at BIGINT NOT NULL                     -- when it was ordered
);
CREATE INDEX exports_user ON exports (user_id, id);
CREATE INDEX exports_created ON exports (created_at, id);

-- Which administrator was told that which key is about to be revoked for want of use.
CREATE TABLE key_warnings (
    key_id BIGINT NOT NULL REFERENCES api_keys (id), -- which key
    user_id BIGINT NOT NULL REFERENCES users (id), -- which administrator
    idle_since BIGINT NOT NULL,                    -- the key's last use, or when it was made
    told_at BIGINT NOT NULL,                       -- when the mail server took the mail, or refused it for good
    PRIMARY KEY (key_id, user_id)
);

-- Where each system answers, in one spelling: one endpoint is managed once.
CREATE TABLE system_names (
    system_id BIGINT NOT NULL REFERENCES systems (id), -- which system
    name TEXT NOT NULL,                            -- connector, port and host
    base TEXT,                                     -- of what is connected to: the part of the directory, '' for all; NULL: another of its names
    PRIMARY KEY (system_id, name)
);
CREATE UNIQUE INDEX system_names_address ON system_names (name, base) WHERE base IS NOT NULL;
CREATE INDEX system_names_name ON system_names (name, system_id);

-- What each account of a directory may be called there, in one spelling.
CREATE TABLE account_names (
    account_id BIGINT NOT NULL REFERENCES accounts (id), -- which account
    system_id BIGINT NOT NULL,                     -- of which system
    name TEXT NOT NULL,                            -- kind and name
    certain SMALLINT NOT NULL,                     -- 1: the directory takes the name for this account; 0: others may have it, too
    PRIMARY KEY (account_id, name)
);
CREATE UNIQUE INDEX account_names_certain ON account_names (system_id, name) WHERE certain = 1;
CREATE INDEX account_names_name ON account_names (system_id, name, account_id);

-- Who each account is by its target's own word.
CREATE TABLE target_identities (
    account_id BIGINT PRIMARY KEY REFERENCES accounts (id), -- which account
    machine TEXT NOT NULL,                         -- the machine or directory
    being TEXT NOT NULL,                           -- which of its accounts
    first_at BIGINT NOT NULL,                      -- when the target said so first
    UNIQUE (being, machine)
);
