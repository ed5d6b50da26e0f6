package api

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/agnes-platform/agnes/pkg/ratelimit"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/limit"
)

// Rates are how many requests of a kind are allowed. The zero Rates allow all.
type Rates struct {
	SignIn    ratelimit.Rate `envconfig:"AGNES_LIMIT_SIGN_IN" default:"10/m" desc:"attempts to sign in per account; 20 times as many per address"`
	Links     ratelimit.Rate `envconfig:"AGNES_LIMIT_LINKS" default:"5/m" desc:"mails with links per account; 20 times as many per address"`
	Codes     ratelimit.Rate `envconfig:"AGNES_LIMIT_CODES" default:"20/m" desc:"device codes per account; 20 times as many per address"`
	Tokens    ratelimit.Rate `envconfig:"AGNES_LIMIT_TOKENS" default:"30/m" desc:"tokens made per account; 20 times as many per address"`
	Uploads   ratelimit.Rate `envconfig:"AGNES_LIMIT_UPLOADS" default:"120/m" desc:"uploads per account; 20 times as many per address"`
	Queries   ratelimit.Rate `envconfig:"AGNES_LIMIT_QUERIES" default:"1200/m" desc:"queries per account; 20 times as many per address"`
	Strangers ratelimit.Rate `envconfig:"AGNES_LIMIT_STRANGERS" default:"50/s" desc:"requests without a valid credential per address; 4 times as many at once"`
}

// limiter counts requests by these rates.
func (r Rates) limiter(metrics *prometheus.Registry) *limit.Limiter {
	return limit.New(limit.Config{
		Rates: map[httpapi.Class]ratelimit.Rate{
			httpapi.LimitSignIn: r.SignIn, httpapi.LimitLinks: r.Links, httpapi.LimitCodes: r.Codes,
			httpapi.LimitTokens: r.Tokens, httpapi.LimitUpload: r.Uploads, httpapi.LimitQuery: r.Queries,
		},
		Strangers: r.Strangers, Metrics: metrics,
	})
}
