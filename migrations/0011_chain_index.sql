-- What the indexer has read: whose wallets, up to which block, and every transfer into or out of them. Rows of blocks that a
-- reorganisation removed are kept and marked; only the live ones are unique.

CREATE TABLE chain_wallets (
    network        text NOT NULL,
    asset          text NOT NULL,
    address        text NOT NULL,
    start_block    bigint NOT NULL CHECK (start_block >= 0),
    next_block     bigint NOT NULL CHECK (next_block >= start_block),
    covered_until  timestamptz,                                 -- time of block next_block - 1
    opening_atomic numeric(78, 0) CHECK (opening_atomic >= 0),  -- balance before start_block; null: the node could not say
    verified_block bigint,                                      -- the newest block at which the balance was what the transfers say
    gap_from       bigint,                                      -- from here on something is missing
    PRIMARY KEY (network, asset, address)
);

CREATE TABLE chain_blocks (
    network text NOT NULL,
    number  bigint NOT NULL,
    hash    text NOT NULL,
    time    timestamptz NOT NULL,
    PRIMARY KEY (network, number)
);

CREATE TABLE chain_sights (
    network     text PRIMARY KEY,
    head_number bigint NOT NULL,
    head_time   timestamptz,
    seen_at     timestamptz,          -- when a node last answered
    problem     text NOT NULL,        -- why it does not answer now, or ''
    problem_at  timestamptz
);

CREATE TABLE chain_transfers (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    network       text NOT NULL,
    asset         text NOT NULL,
    sender        text NOT NULL,
    recipient     text NOT NULL,
    amount_atomic numeric(78, 0) NOT NULL CHECK (amount_atomic >= 0),
    nonce         text,               -- of the authorization (EIP-3009) that this transfer used
    tx_hash       text NOT NULL,
    log_index     bigint NOT NULL,
    block_number  bigint NOT NULL,
    block_hash    text NOT NULL,
    block_time    timestamptz NOT NULL,
    gone_at       timestamptz         -- when a reorganisation removed it
);
CREATE UNIQUE INDEX chain_transfers_live ON chain_transfers (network, tx_hash, log_index) WHERE gone_at IS NULL;
CREATE INDEX chain_transfers_in ON chain_transfers (network, recipient, block_number) WHERE gone_at IS NULL;
CREATE INDEX chain_transfers_out ON chain_transfers (network, sender, block_number) WHERE gone_at IS NULL;
CREATE INDEX chain_transfers_nonce ON chain_transfers (network, nonce) WHERE gone_at IS NULL AND nonce IS NOT NULL;
CREATE INDEX payments_recon_wallet ON payments (network, pay_to);
