package service

// Names of log fields, the same in every service.
const (
	FieldService = "service"
	FieldSource  = "source"
	FieldTable   = "table"
	FieldRun     = "run_id"
	FieldEvent   = "event_id"
	FieldRequest = "request_id"
	FieldUser    = "user_id"
)
