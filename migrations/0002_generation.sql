-- How old the store is, and what it has forgotten.

-- Raised at each start and each minute, and echoed to files outside of the database.
ALTER TABLE store_identity ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;

-- Times when the store was found older than it had been.
CREATE TABLE regressions (
    id BIGINT PRIMARY KEY,               -- dense
    generation BIGINT NOT NULL,          -- what the store said
    expected BIGINT NOT NULL,            -- what it had said before
    named SMALLINT NOT NULL,             -- 1: an escrow journal named the accounts; 0: every account is concerned
    accounts BIGINT NOT NULL,            -- accounts that were marked
    missing BIGINT NOT NULL,             -- accounts that the journal has and the store has not
    found_at BIGINT NOT NULL,            -- when
    ended_at BIGINT                      -- when none of them was left, or somebody said so; NULL while it is open
);
CREATE INDEX regressions_open ON regressions (id) WHERE ended_at IS NULL;

-- Accounts of which the store may have forgotten a credential; nothing changes them by itself.
CREATE TABLE regressed_accounts (
    account_id BIGINT PRIMARY KEY REFERENCES accounts (id), -- which
    regression_id BIGINT NOT NULL,       -- since which regression
    consent TEXT NOT NULL CHECK (consent IN ('none', 'test', 'reset')), -- what an operator has agreed to
    actor TEXT NOT NULL,                 -- who that was; '' while nobody has
    turn_at BIGINT,                      -- agreed to and to be ordered, not before; NULL: it is not
    ordered_at BIGINT,                   -- when its job was last ordered
    marked_at BIGINT NOT NULL,           -- when it was marked
    recovered_at BIGINT                  -- when the mark went; NULL: it stands
);
CREATE INDEX regressed_accounts_turn ON regressed_accounts (account_id) WHERE turn_at IS NOT NULL;
CREATE INDEX regressed_accounts_left ON regressed_accounts (account_id) WHERE recovered_at IS NULL;
CREATE INDEX regressed_accounts_ordered ON regressed_accounts (ordered_at) WHERE ordered_at IS NOT NULL;

-- Values that the store had acknowledged and has not, as an escrow journal numbers them. Kept for good:
-- what stands here is known, and is not found again at the next start.
CREATE TABLE forgotten_values (
    account_id BIGINT NOT NULL,          -- whose; the account itself may have been forgotten
    version BIGINT NOT NULL,             -- the number that it had
    print TEXT NOT NULL,                 -- what tells it from others: a digest of how it was sealed
    written_at BIGINT NOT NULL,          -- when the journal got it
    PRIMARY KEY (account_id, print)
);
