-- Ways to sign in beyond a password, scopes, groups, and requests that are answered with a reason.

-- One-time secrets of links in mails, each for one purpose: magic, reset or setup. Only hashes are kept.
CREATE TABLE one_time_tokens (
    id VARCHAR PRIMARY KEY,
    purpose VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    token_hash VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL,
    expires_at TIMESTAMP NOT NULL,
    used_at TIMESTAMP,
    created_by VARCHAR,
    ip VARCHAR
);

-- Sign-ins of programs without a browser (RFC 8628).
CREATE TABLE device_grants (
    id VARCHAR PRIMARY KEY,
    device_hash VARCHAR NOT NULL,
    user_code VARCHAR NOT NULL,
    client_name VARCHAR,
    ip VARCHAR,
    created_at TIMESTAMP NOT NULL,
    expires_at TIMESTAMP NOT NULL,
    polled_at TIMESTAMP,
    status VARCHAR NOT NULL,
    user_id VARCHAR,
    decided_at TIMESTAMP
);

-- Which account of an OpenID provider belongs to which user.
CREATE TABLE oidc_accounts (
    issuer VARCHAR NOT NULL,
    subject VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    email VARCHAR,
    linked_at TIMESTAMP NOT NULL,
    last_used_at TIMESTAMP,
    PRIMARY KEY (issuer, subject)
);

CREATE TABLE user_groups (
    id VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL,
    description VARCHAR,
    created_at TIMESTAMP NOT NULL,
    created_by VARCHAR
);

CREATE TABLE group_members (
    group_id VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    added_at TIMESTAMP NOT NULL,
    added_by VARCHAR,
    PRIMARY KEY (group_id, user_id)
);

CREATE TABLE group_permissions (
    group_id VARCHAR NOT NULL,
    dataset VARCHAR NOT NULL,
    access VARCHAR NOT NULL,
    granted_at TIMESTAMP,
    granted_by VARCHAR,
    PRIMARY KEY (group_id, dataset)
);

ALTER TABLE sessions ADD COLUMN IF NOT EXISTS method VARCHAR;
ALTER TABLE sessions ADD COLUMN IF NOT EXISTS refreshed_from VARCHAR;
ALTER TABLE access_requests ADD COLUMN IF NOT EXISTS decision_reason VARCHAR;
ALTER TABLE dataset_permissions ADD COLUMN IF NOT EXISTS granted_at TIMESTAMP;
ALTER TABLE dataset_permissions ADD COLUMN IF NOT EXISTS granted_by VARCHAR;

-- An invitation that is on its way stays good. Reset tokens do not: they served two purposes, and
-- both kinds were kept in clear.
INSERT INTO one_time_tokens (id, purpose, user_id, token_hash, created_at, expires_at)
    SELECT 'migrated-' || id, 'setup', id, sha256(setup_token), setup_token_created, setup_token_created + INTERVAL 7 DAY
    FROM users WHERE setup_token IS NOT NULL AND setup_token <> '' AND setup_token_created IS NOT NULL;
UPDATE users SET setup_token = NULL, setup_token_created = NULL, reset_token = NULL, reset_token_created = NULL;
