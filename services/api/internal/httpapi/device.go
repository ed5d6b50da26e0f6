package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// The device flow (RFC 8628): a program without a browser shows a code, its user types it on a page
// where they are signed in, and the program polls until they agreed.

const devicePath = "/auth/device"

// deviceGrant is the grant_type of RFC 8628, section 3.4.
const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

type deviceCodeQuestion struct {
	from
	Body *struct {
		ClientName string `json:"client_name,omitempty" maxLength:"200" doc:"What the program calls itself; the user is shown it." example:"da on laptop"`
	}
}

type deviceCodeAnswer struct {
	Body struct {
		DeviceCode string `json:"device_code" doc:"The secret to poll with. Show it to nobody." example:"GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS"`
		UserCode   string `json:"user_code" doc:"The code to show to the user." example:"WDJB-MJHT"`
		URI        string `json:"verification_uri" doc:"Where the user types it: from AGNES_PUBLIC_URL, or a path of this server where that is not set." example:"https://agnes.example.com/auth/device"`
		Complete   string `json:"verification_uri_complete" doc:"The same with the code in it." example:"https://agnes.example.com/auth/device?user_code=WDJB-MJHT"`
		ExpiresIn  int    `json:"expires_in" doc:"Seconds until the code ends." example:"600"`
		Interval   int    `json:"interval" doc:"Seconds between two polls, at least." example:"5"`
	}
}

type deviceTokenQuestion struct {
	from
	Body struct {
		DeviceCode string `json:"device_code" minLength:"1" maxLength:"300" doc:"The secret that the program was given." example:"GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS"`
		GrantType  string `json:"grant_type,omitempty" maxLength:"100" doc:"Empty, or as in RFC 8628." example:"urn:ietf:params:oauth:grant-type:device_code"`
	}
}

type byUserCode struct {
	UserCode string `path:"user_code" maxLength:"40" doc:"The code that the program shows, in any case." example:"WDJB-MJHT"`
}

type deviceViewAnswer struct{ Body DeviceView }

type deviceDecision struct {
	UserCode string `path:"user_code" maxLength:"40" doc:"The code that the program shows, in any case." example:"WDJB-MJHT"`
	Body     struct {
		Approve bool `json:"approve" doc:"Whether the program may sign in as you." example:"true"`
	}
}

func (s *Server) deviceRoutes() {
	add(s, Public, op{
		method: http.MethodPost, path: "/auth/device/code", id: "beginDevice", audit: "device.request", limit: LimitCodes, tag: tagAuth, summary: "Ask for a code to sign in with",
		text: "For programs without a browser (RFC 8628). Show the user verification_uri and user_code, and poll /auth/device/token.", errors: []int{http.StatusServiceUnavailable},
	}, s.beginDevice)
	add(s, Public, op{
		method: http.MethodPost, path: "/auth/device/token", id: "pollDevice", audit: "signin.device", tag: tagAuth, summary: "Poll for a device's session",
		text:   "Answers 400 until the user agreed; the field error of the problem says why: authorization_pending (poll on), slow_down (poll on, 5 seconds slower), access_denied or expired_token (begin again).",
		errors: []int{http.StatusServiceUnavailable},
	}, s.pollDevice)
	add(s, User, op{
		method: http.MethodGet, path: "/auth/device/requests/{user_code}", id: "deviceRequest", session: true, limit: LimitCodes, tag: tagAuth, summary: "Look at a device that wants to sign in",
		text: "What the page /auth/device shows.", errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.deviceRequest)
	add(s, User, op{
		method: http.MethodPost, path: "/auth/device/requests/{user_code}", id: "decideDevice", session: true, audit: "device.decide", limit: LimitCodes, tag: tagAuth, summary: "Let a device sign in as me, or not",
		text: "Approve only what you started yourself. A code is decided once.", status: http.StatusNoContent, errors: []int{http.StatusNotFound, http.StatusConflict},
	}, s.decideDevice)
	s.pageRoute(door{gate: User, session: true, page: true, limit: LimitCodes}, devicePath, s.devicePage)
	s.formRoute(door{gate: User, session: true, page: true, audit: "device.decide", limit: LimitCodes}, devicePath, s.deviceForm)
}

func (s *Server) beginDevice(ctx context.Context, in *deviceCodeQuestion) (*deviceCodeAnswer, error) {
	name := ""
	if in.Body != nil {
		name = strings.TrimSpace(in.Body.ClientName)
	}
	noteParam(ctx, "client_name", clip(name, 200))
	code, err := s.signIn.BeginDevice(ctx, name, in.origin)
	if err != nil {
		return nil, err
	}
	out := &deviceCodeAnswer{}
	out.Body.DeviceCode, out.Body.UserCode = code.DeviceCode, code.UserCode
	out.Body.URI = s.publicURL + devicePath
	out.Body.Complete = out.Body.URI + "?user_code=" + url.QueryEscape(code.UserCode)
	out.Body.ExpiresIn, out.Body.Interval = int(code.ExpiresIn.Seconds()), int(code.Interval.Seconds())
	return out, nil
}

func (s *Server) pollDevice(ctx context.Context, in *deviceTokenQuestion) (*sessionAnswer, error) {
	if g := in.Body.GrantType; g != "" && g != deviceGrant {
		return nil, fault.New(fault.Invalid, "grant_type must be %s, or left out", deviceGrant)
	}
	session, err := s.signIn.PollDevice(ctx, in.Body.DeviceCode, in.origin)
	if err != nil {
		return nil, deviceProblem(err)
	}
	noteSession(ctx, session)
	return &sessionAnswer{Body: session}, nil
}

// deviceProblem answers a poll that has no session: always 400 (RFC 6749, section 5.2), slow_down too.
func deviceProblem(err error) error {
	var d *DeviceError
	if !errors.As(err, &d) {
		return err
	}
	p := newProblem(d.Fault)
	p.Status, p.Title, p.Kind, p.Code = http.StatusBadRequest, titleOf(http.StatusBadRequest), fault.Invalid, d.Code
	return &deviceRefusal{Problem: p, cause: d}
}

// deviceRefusal is the problem of a poll, which still knows its cause.
type deviceRefusal struct {
	*Problem
	cause *DeviceError
}

// Unwrap gives both.
func (d *deviceRefusal) Unwrap() []error { return []error{d.Problem, d.cause} }

// waits tells whether an error is a poll that came before its user decided: no event to be recorded.
func waits(err error) bool {
	var d *DeviceError
	return errors.As(err, &d) && (d.Code == "authorization_pending" || d.Code == "slow_down")
}

// userCode writes a code as people type it in one way.
func userCode(typed string) string {
	return strings.ToUpper(strings.Join(strings.Fields(typed), ""))
}

func (s *Server) deviceRequest(ctx context.Context, in *byUserCode) (*deviceViewAnswer, error) {
	v, err := s.signIn.Device(ctx, callerOf(ctx), userCode(in.UserCode))
	return &deviceViewAnswer{Body: v}, err
}

func (s *Server) decideDevice(ctx context.Context, in *deviceDecision) (*none, error) {
	return nil, s.decideOn(ctx, userCode(in.UserCode), in.Body.Approve)
}

// decideOn says yes or no to a device. The code itself is not recorded: until it ends it is worth a session.
func (s *Server) decideOn(ctx context.Context, code string, approve bool) error {
	noteParam(ctx, "approve", approve)
	if v, err := s.signIn.Device(ctx, callerOf(ctx), code); err == nil {
		noteParam(ctx, "client_name", clip(v.ClientName, 200))
		noteParam(ctx, "client_ip", v.IP)
	}
	return s.signIn.DecideDevice(ctx, callerOf(ctx), code, approve)
}

func (s *Server) devicePage(ctx context.Context, f form) (reply, error) {
	out := reply{page: "device", title: "Sign in a device"}
	code := userCode(f.Get("user_code"))
	if code == "" {
		return out, nil
	}
	v, err := s.signIn.Device(ctx, callerOf(ctx), code)
	if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Invalid) {
		return out.saying(err)
	}
	if err != nil {
		return reply{}, err
	}
	out.data = &v
	return out, nil
}

func (s *Server) deviceForm(ctx context.Context, f form) (reply, error) {
	decision := f.Get("decision")
	if decision != "approve" && decision != "deny" {
		return reply{}, fault.New(fault.Invalid, "choose one of the two buttons")
	}
	if err := s.decideOn(ctx, userCode(f.Get("user_code")), decision == "approve"); err != nil {
		return reply{page: "device", title: "Sign in a device"}.saying(err)
	}
	if decision == "deny" {
		return reply{page: "notice", title: "Refused", notice: "The program was not let in."}, nil
	}
	return reply{page: "notice", title: "Signed in", notice: "The program is signed in as you. You can close this page and go back to it."}, nil
}
