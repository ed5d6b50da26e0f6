package state

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"time"

	"github.com/google/uuid"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// States of a device grant.
const (
	DevicePending  = "pending"  // waits for its user
	DeviceApproved = "approved" // a session can be fetched, once
	DeviceDenied   = "denied"   // the user said no
	DeviceUsed     = "used"     // its session was fetched
)

// DeviceGrant is a sign-in of a program without a browser (RFC 8628). The device code is not kept.
type DeviceGrant struct {
	ID string
	// Hash is the SHA-256 (hex) of the device code.
	Hash string
	// UserCode is what the user types, in its normal form; nobody else has it while it is good.
	UserCode   string
	ClientName string
	IP         string
	CreatedAt  time.Time
	ExpiresAt  time.Time
	Status     string
	// UserID is who decided.
	UserID    string
	DecidedAt time.Time
}

// DeviceGrants are the sign-ins of programs.
type DeviceGrants struct{ s *Store }

// maxDeviceGrants bounds the requests that wait, whoever makes them.
const maxDeviceGrants = 10_000

const selectDevices = `SELECT d.id, d.device_hash, d.user_code, d.client_name, d.ip, d.created_at, d.expires_at, d.status, d.user_id, d.decided_at FROM device_grants d`

func scanDevice(r *sql.Rows) (DeviceGrant, error) {
	var d DeviceGrant
	return d, r.Scan(&d.ID, &d.Hash, &d.UserCode, text{&d.ClientName}, text{&d.IP}, moment{&d.CreatedAt}, moment{&d.ExpiresAt}, &d.Status, text{&d.UserID}, moment{&d.DecidedAt})
}

// Errors of device grants.
var (
	ErrNoDevice      = fault.New(fault.NotFound, "no program waits with this code: look at it again, or start the sign-in anew")
	errCodeTaken     = fault.New(fault.Conflict, "the code is in use")
	errTooManyGrants = fault.New(fault.Busy, "too many programs wait for a sign-in; try again later").After(time.Minute)
)

// Create keeps a request and forgets those that expired. fault.Conflict where another one that is still
// good has the user code, fault.Busy where too many wait.
func (r *DeviceGrants) Create(ctx context.Context, d DeviceGrant) error {
	return r.s.write(ctx, touchesNothing, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM device_grants WHERE expires_at < $1", r.s.now()); err != nil {
			return err
		}
		taken, err := one(ctx, tx, nil, scanInt, "SELECT count(*) FROM device_grants WHERE user_code = $1", d.UserCode)
		if err != nil {
			return err
		}
		if taken > 0 {
			return errCodeTaken
		}
		waiting, err := one(ctx, tx, nil, scanInt, "SELECT count(*) FROM device_grants")
		if err != nil {
			return err
		}
		if waiting >= maxDeviceGrants {
			return errTooManyGrants
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO device_grants (id, device_hash, user_code, client_name, ip, created_at, expires_at, status) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			uuid.NewString(), d.Hash, d.UserCode, orNull(d.ClientName), orNull(d.IP), timeOrNull(d.CreatedAt), timeOrNull(d.ExpiresAt), DevicePending)
		return err
	})
}

// ByDevice gives the request of a device code by its hash, in whatever state; fault.NotFound where there
// is none.
func (r *DeviceGrants) ByDevice(ctx context.Context, hash string) (DeviceGrant, error) {
	d, err := readOne(ctx, r.s, ErrNoDevice, scanDevice, selectDevices+" WHERE d.device_hash = $1", hash)
	if err == nil && subtle.ConstantTimeCompare([]byte(d.Hash), []byte(hash)) != 1 {
		return DeviceGrant{}, ErrNoDevice
	}
	return d, err
}

// Pending gives the request that waits with a user code; fault.NotFound where none does.
func (r *DeviceGrants) Pending(ctx context.Context, userCode string) (DeviceGrant, error) {
	return readOne(ctx, r.s, ErrNoDevice, scanDevice, selectDevices+pendingDevice, userCode, DevicePending, r.s.now())
}

const pendingDevice = " WHERE d.user_code = $1 AND d.status = $2 AND d.expires_at > $3"

// Decide approves or denies the request that waits with a user code, in the user's name; fault.NotFound
// where none does: a decision stands.
func (r *DeviceGrants) Decide(ctx context.Context, userCode, userID string, approve bool) error {
	return r.s.write(ctx, touchesNothing, func(ctx context.Context, tx *sql.Tx) error {
		now := r.s.now()
		d, err := one(ctx, tx, ErrNoDevice, scanDevice, selectDevices+pendingDevice, userCode, DevicePending, now)
		if err != nil {
			return err
		}
		status := DeviceDenied
		if approve {
			status = DeviceApproved
		}
		_, err = tx.ExecContext(ctx, "UPDATE device_grants SET status = $1, user_id = $2, decided_at = $3 WHERE id = $4", status, userID, now, d.ID)
		return err
	})
}

// Redeem uses an approved request up and opens the session that make gives for its user, in one
// transaction: of those who come at once, one gets it. fault.NotFound where it is not approved any more.
func (r *DeviceGrants) Redeem(ctx context.Context, id string, makeSession func(User) (Session, error)) (User, error) {
	var u User
	err := r.s.write(ctx, touchesNothing, func(ctx context.Context, tx *sql.Tx) error {
		now := r.s.now()
		d, err := one(ctx, tx, ErrNoDevice, scanDevice, selectDevices+" WHERE d.id = $1 AND d.status = $2 AND d.expires_at > $3", id, DeviceApproved, now)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE device_grants SET status = $1, polled_at = $2 WHERE id = $3", DeviceUsed, now, d.ID); err != nil {
			return err
		}
		if u, err = one(ctx, tx, errCannotSignIn, scanUser, selectUsers+" WHERE u.id = $1", d.UserID); err != nil {
			return err
		}
		v, err := makeSession(u)
		if err != nil {
			return err
		}
		return createSession(ctx, tx, v, now)
	})
	return u, err
}
