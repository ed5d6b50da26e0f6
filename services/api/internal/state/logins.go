package state

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// EmailKey is the form of an e-mail address by which a user is found, the same for all ways to write it:
// letters in whatever case, accents composed or not (Unicode NFC), and a domain in its own letters or in
// those of the DNS (RFC 5891).
func EmailKey(email string) string {
	return DNSAddress(norm.NFC.String(strings.ToLower(norm.NFC.String(strings.TrimSpace(email)))))
}

// DNSAddress writes the domain of an address in the letters of the DNS, as mail servers take it.
func DNSAddress(email string) string {
	local, domain := email[:strings.LastIndexByte(email, '@')+1], email[strings.LastIndexByte(email, '@')+1:]
	if local == "" || isASCII(domain) {
		return email
	}
	domain, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return email // no domain, and so nobody's
	}
	return local + domain
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

// shadowed begins the key of the setting that says whose login a user's address is.
const shadowed = "login_shadowed."

// byRight orders users who share an address: the first one signs in with it.
const byRight = " ORDER BY coalesce(u.active, TRUE) DESC, u.created_at NULLS LAST, u.id"

// settleLogins makes those logins anew whose key is not what EmailKey makes of the address now.
func (s *Store) settleLogins(ctx context.Context) error {
	return transact(ctx, s.writer, func(ctx context.Context, tx *sql.Tx) error {
		type login struct {
			key, id, email string
		}
		all, err := collect(ctx, tx, func(r *sql.Rows) (login, error) {
			var l login
			return l, r.Scan(&l.key, &l.id, &l.email)
		}, "SELECT l.email_key, u.id, u.email FROM user_logins l JOIN users u ON u.id = l.user_id"+byRight)
		if err != nil {
			return err
		}
		owners := make(map[string]string, len(all))
		for _, l := range all {
			if l.key == EmailKey(l.email) {
				owners[l.key] = l.id
			}
		}
		for _, l := range all {
			key := EmailKey(l.email)
			if l.key == key {
				continue
			}
			if _, err := tx.ExecContext(ctx, "DELETE FROM user_logins WHERE email_key = $1", l.key); err != nil {
				return err
			}
			if owner, taken := owners[key]; taken {
				err = putSetting(ctx, tx, shadowed+l.id, owner, s.now())
			} else {
				owners[key] = l.id
				_, err = tx.ExecContext(ctx, "INSERT INTO user_logins (email_key, user_id) VALUES ($1, $2)", key, l.id)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// passOnLogin gives the login of a removed user to the first of those who were shadowed by them: an active
// one, and of those the oldest.
func passOnLogin(ctx context.Context, tx *sql.Tx, gone User, now time.Time) error {
	heirs, err := collect(ctx, tx, scanUser, selectUsers+" JOIN settings s ON s.key = 'login_shadowed.' || u.id WHERE s.value = $1"+byRight, gone.ID)
	if err != nil {
		return err
	}
	if len(heirs) == 0 {
		_, err = tx.ExecContext(ctx, "DELETE FROM user_logins WHERE user_id = $1", gone.ID)
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE user_logins SET user_id = $1 WHERE user_id = $2", heirs[0].ID, gone.ID); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM settings WHERE key = $1", shadowed+heirs[0].ID); err != nil {
		return err
	}
	for _, u := range heirs[1:] {
		if err := putSetting(ctx, tx, shadowed+u.ID, heirs[0].ID, now); err != nil {
			return err
		}
	}
	return nil
}
