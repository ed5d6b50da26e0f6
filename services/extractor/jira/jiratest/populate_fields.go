package jiratest

import (
	"encoding/json"
	"fmt"
	"time"
)

var (
	subjects   = []string{"Export", "Sync of orders", "Login", "Nightly job", "Dashboard", "Přihlášení", "Webhook", "API token", "Billing run", "レポート"}
	troubles   = []string{"fails", "is slow", "shows old data", "answers 500", "loses \"quotes\" & <tags>", "needs a review", "ignores time zones"}
	places     = []string{"in eu-west", "for one customer", "since Monday", "after the upgrade", "on every retry", "in the Prague office"}
	remarks    = []string{"Restarted, still the same.", "Díky, už to funguje.", "See the attached log.", "Which version is it?", "Waiting for the vendor.", "Fixed by a new token; please confirm.", "+1", "Escalated to L3.\tIt is urgent."}
	words      = []string{"export", "sso", "billing", "vip", "regression", "data-quality", "česko"}
	severities = []string{"Sev 1", "Sev 2", "Sev 3", "Sev 4"}
	files      = []struct{ name, mime string }{
		{"log.txt", "text/plain"}, {"screen shot.png", "image/png"}, {"výpis č. 7.pdf", "application/pdf"}, {"../../etc/passwd", "text/plain"},
		{"data.csv", "text/csv"}, {"a\\b:c?.bin", "application/octet-stream"},
	}
)

// generateFields fills every kind of field, each now and then, so that every kind of absence is there too.
func (s *Site) generateFields(is *issue, d *draw) {
	set := func(id string, v any) { is.fields[id] = marshal(v) }
	if !d.one(8) {
		if d.one(5) {
			is.fields["description"] = pick(d, s.gen.rich)
		} else {
			is.fields["description"] = Text(pick(d, remarks), pick(d, remarks), pick(d, remarks))
		}
	}
	if d.one(10) {
		is.fields["environment"] = Text("production")
	}
	if d.one(2) {
		set("labels", []string{pick(d, words), "team-" + pick(d, words)})
	}
	if d.one(4) {
		set("duedate", is.created.AddDate(0, 0, d.n(30)).Format(time.DateOnly))
	}
	if d.one(5) {
		set("components", []any{s.named("component", 10400+int64(d.n(3)), "Component "+pick(d, words))})
	}
	if d.one(6) {
		set("fixVersions", []any{s.named("version", 10500+int64(d.n(9)), fmt.Sprintf("1.%d", d.n(9)))})
	}
	if d.one(6) {
		is.fields["timeoriginalestimate"] = json.RawMessage(itoa(int64(d.n(40)) * 3600))
	}
	is.fields["workratio"] = json.RawMessage("-1")
	s.generateServiceDesk(is, d, set)
	if d.one(3) {
		is.fields["customfield_10016"] = json.RawMessage(pick(d, []string{"1", "2", "3", "5", "8", "0.5", "13.0"}))
	}
	if d.one(5) {
		set("customfield_10015", is.created.Format(time.DateOnly))
	}
	if d.one(6) {
		set("customfield_10100", is.created.In(s.cfg.Location).Format(jiraTime))
	}
	if d.one(4) {
		v := s.option(10610, "Data platform")
		v["child"] = s.option(10611, pick(d, subjects))
		set("customfield_10101", v)
	}
	if d.one(6) {
		is.fields["customfield_10103"] = pick(d, s.users).v3
	}
	if d.one(5) {
		set("customfield_10105", []string{pick(d, words), pick(d, words)})
	}
	if d.one(9) {
		is.fields["customfield_10106"] = pick(d, s.gen.rich)
	}
}

func (s *Site) generateServiceDesk(is *issue, d *draw, set func(string, any)) {
	if is.project.key != "SUP" {
		return
	}
	if d.one(2) {
		set("customfield_10002", []any{map[string]any{"id": itoa(int64(1 + d.n(9))), "name": "Customer " + pick(d, words), "_links": map[string]any{"self": s.URL + "/rest/servicedeskapi/organization/1"}}})
	}
	set("customfield_10004", s.option(10620+int64(d.n(4)), pick(d, severities)))
	if !d.one(5) {
		set("customfield_10010", map[string]any{
			"_links":        map[string]any{"self": s.URL + "/rest/servicedeskapi/request/" + itoa(is.id)},
			"requestType":   map[string]any{"id": "25", "name": "Report a problem", "description": "", "serviceDeskId": "1", "groupIds": []string{"1"}},
			"currentStatus": map[string]any{"status": is.status.name, "statusCategory": is.status.category, "statusDate": map[string]any{"epochMillis": is.updated.UnixMilli()}},
		})
	}
	if d.one(3) {
		is.fields["customfield_10156"] = json.RawMessage("[" + string(pick(d, s.users).v3) + "," + string(pick(d, s.users).v3) + "]")
	}
	if is.status.category == "done" && d.one(4) {
		set("customfield_10157", map[string]any{"rating": 1 + d.n(5)})
	}
	is.fields["customfield_10161"] = s.sla(d, 10161, "Time to resolution", is, 8*time.Hour)
	is.fields["customfield_10328"] = s.sla(d, 10328, "Time to first response", is, time.Hour)
	if d.one(4) {
		set("customfield_10323", []any{s.option(10630, "needs info"), s.option(10631, "reproduced")})
	}
	if d.one(6) {
		set("customfield_10325", "https://example.com/tickets?id="+itoa(is.id)+"&v=1")
	}
	if d.one(5) {
		is.fields["customfield_10330"] = Text("Reported by phone.", pick(d, remarks))
	}
	if d.one(7) {
		set("customfield_10350", "https://example.slack.com/archives/C01/p"+itoa(is.created.Unix()))
	}
	if d.one(20) {
		set("customfield_10365", s.option(10640, "Yes"))
	}
	if d.one(4) {
		set("customfield_10475", fmt.Sprintf("customer%d@example.com", d.n(500)))
	}
	if d.one(3) {
		set("customfield_10511", []any{s.option(10650, "orchestrator")})
	}
	if d.one(4) {
		set("customfield_10676", s.option(10660, "Connection — "+pick(d, words)))
	}
	if d.one(8) {
		set("customfield_11831", s.option(10670, "Storage"))
	}
}

func (s *Site) option(id int64, value string) map[string]any {
	return map[string]any{"self": s.URL + "/rest/api/3/customFieldOption/" + itoa(id), "value": value, "id": itoa(id)}
}

func (s *Site) named(kind string, id int64, name string) map[string]any {
	return map[string]any{"self": s.URL + "/rest/api/3/" + kind + "/" + itoa(id), "id": itoa(id), "name": name}
}

// sla is a goal of service: under way, met or missed, or not begun.
func (s *Site) sla(d *draw, id int64, name string, is *issue, goal time.Duration) json.RawMessage {
	if d.one(9) {
		return nil
	}
	moment := func(t time.Time) string {
		return fmt.Sprintf(`{"iso8601":"%s","jira":"%s","friendly":"","epochMillis":%d}`, t.Format(time.RFC3339), t.Format(jiraTime), t.UnixMilli())
	}
	lasts := func(v time.Duration) string {
		return fmt.Sprintf(`{"millis":%d,"friendly":"%s"}`, v.Milliseconds(), v.Truncate(time.Minute))
	}
	elapsed := time.Duration(d.n(600)) * time.Minute
	cycle := func(rest string) string {
		return fmt.Sprintf(`{"startTime":%s,"breached":%t,"goalDuration":%s,"elapsedTime":%s,"remainingTime":%s%s}`,
			moment(is.created), elapsed > goal, lasts(goal), lasts(elapsed), lasts(goal-elapsed), rest)
	}
	ongoing, completed := "", "[]"
	if is.status.category == "done" {
		completed = "[" + cycle(`,"stopTime":`+moment(is.updated)) + "]"
	} else {
		ongoing = `,"ongoingCycle":` + cycle(`,"paused":false,"withinCalendarHours":true`)
	}
	return json.RawMessage(fmt.Sprintf(`{"id":"%d","name":"%s","_links":{"self":"%s/rest/servicedeskapi/request/%d/sla/%d"},"completedCycles":%s%s}`,
		id, name, s.URL, is.id, id, completed, ongoing))
}
