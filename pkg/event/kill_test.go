package event_test

func publishUntilKilled(string) {}
