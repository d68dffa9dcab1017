import type { Event, Json } from "../../../src/core/event.ts";

export const eventOf = (topic: string, type: string | null, data: Json, id = 1n): Event => ({
  id,
  topic,
  type,
  key: null,
  headers: null,
  createdAt: new Date(0),
  data,
  json: JSON.stringify(data),
});

export const courseData = {
  CourseId: "c-1",
  Name: "Postgres",
  Description: "is enough",
  Length: 90,
  CreatedAt: "2026-01-02T03:04:05.678Z",
};

export const policyData = {
  PolicyId: "p-1",
  Name: "Leave",
  Description: "take it",
  CreatedAt: "2026-01-02T03:04:05+01:00",
};
