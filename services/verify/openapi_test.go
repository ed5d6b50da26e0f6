//go:build verify

package verify_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheDocumentHoldsUnderSchemathesis sends what schemathesis makes of the OpenAPI document, fit and
// unfit, as an administrator and as an analyst: no answer is a server's failure, and every answer is
// one that the document describes. What would end the session that the requests carry is left out here
// and tested by itself.
// interpreterCrash is a defect of CPython, which loses count of its own recursion between threads. It says
// nothing of what is tested.
const interpreterCrash = "SystemError: AST constructor recursion depth mismatch"

func TestTheDocumentHoldsUnderSchemathesis(t *testing.T) {
	python := tool(t, "python/bin/python")
	schemathesis := filepath.Join(filepath.Dir(python), "schemathesis")
	if _, err := os.Stat(schemathesis); err != nil {
		t.Skip("SKIPPED PEER: the Python package schemathesis is not installed; run make verify where PyPI can be reached")
	}
	off := []string{}
	for _, class := range []string{"SIGN_IN", "LINKS", "CODES", "TOKENS", "UPLOADS", "QUERIES", "STRANGERS"} {
		off = append(off, "AGNES_LIMIT_"+class+"=off")
	}
	s := newSingle(t, off...)
	admin := s.signIn(adminEmail, adminPassword)
	for _, role := range []string{"admin", "analyst"} {
		t.Run(role, func(t *testing.T) {
			email := "fuzz-" + role + "@example.com"
			admin.json(http.MethodPost, "/api/users", map[string]string{"email": email, "role": role, "password": "a password for tests"}, http.StatusCreated, nil)
			token := s.signIn(email, "a password for tests").token
			fuzz := func() ([]byte, error) {
				run := exec.CommandContext(t.Context(), schemathesis, "--no-color", "run", s.url("/openapi.json"),
					"-H", "Authorization: Bearer "+token, "--phases", "examples,coverage,fuzzing", "--max-examples", "12", "--seed", "7", "-w", "2",
					"--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,ignored_auth",
					"--exclude-operation-id-regex", "^(logout|logoutEverywhere|logoutAll|refreshSession|refresh|endUserSessions|logoutUser)$",
					"--continue-on-failure", "--warnings", "off", "--suppress-health-check", "all")
				run.Dir = t.TempDir() // it keeps a folder where it runs
				return run.CombinedOutput()
			}
			out, err := fuzz()
			if err != nil && strings.Contains(string(out), interpreterCrash) && !strings.Contains(string(out), "= FAILURES =") {
				t.Log("the interpreter of schemathesis crashed; once more")
				out, err = fuzz()
			}
			text := string(out)
			if at := strings.Index(text, "= FAILURES ="); at >= 0 {
				text = text[at:]
			}
			if err != nil {
				t.Errorf("schemathesis: %v\n%s", err, tail(text, 12000))
			}
			if err := get(s.url("/readyz")); err != nil {
				t.Errorf("the server afterwards: %v", err)
			}
		})
	}
	if strings.Contains(s.agnes.output(), "a handler panicked") {
		t.Error("a handler panicked")
	}
}
