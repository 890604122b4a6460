package javax.annotation;

/** Of javax.annotation-api, which the generated pom.xml asks for; it marks what is generated, and no more. */
public @interface Generated {
  String[] value();

  String date() default "";

  String comments() default "";
}
