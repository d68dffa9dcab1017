//! `CourseCreated` on topic `courses`: a course there is from now on.

import { z } from "zod";

import { parseData, type Projection } from "../projection.ts";
import { documentId, label, timestamp } from "../text.ts";

export const coursesTopic = "courses";

export const courseCreated = z.object({
  CourseId: documentId,
  Name: label,
  Description: label,
  /** Minutes. */
  Length: z.number(),
  CreatedAt: timestamp,
});

export type CourseCreated = z.infer<typeof courseCreated>;

export const projectCourseCreated: Projection = {
  topic: coursesTopic,
  type: "CourseCreated",
  project: (event) => {
    const course = parseData(courseCreated, event);
    return [{ collection: "courses", id: course.CourseId, document: course, eventId: event.id }];
  },
};
