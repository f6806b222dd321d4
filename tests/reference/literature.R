# Values of R's metafor and clubSandwich for published depths with a random effect of the source.
#   Rscript tests/reference/literature.R    reads tests/reference/literature_data.csv (the columns
#   of published_depths()) and writes tests/reference/literature.json
suppressMessages({library(metafor); library(clubSandwich); library(jsonlite)})
pool <- function(d) {
  d$figure <- seq_len(nrow(d))
  fit <- rma.mv(depth, resolution^2 / 12, random = list(~ 1 | source, ~ 1 | figure), data = d,
                method = "REML", control = list(optimizer = "optim", optmethod = "BFGS", reltol = 1e-15))
  test <- coef_test(fit, vcov = vcovCR(fit, cluster = d$source, type = "CR2"),
                    test = "Satterthwaite")
  df <- if (is.null(test$df_Satt)) test$df else test$df_Satt
  list(estimate = as.numeric(fit$beta), se = test$SE, df = df,
       tau_source = sqrt(fit$sigma2[1]), tau_figure = sqrt(fit$sigma2[2]))
}
d <- read.csv("tests/reference/literature_data.csv")
out <- list(all = pool(d), paper = pool(d[d$source_kind == "paper", ]),
            report = pool(d[d$source_kind == "report", ]))
out$versions <- as.list(sapply(c("metafor", "clubSandwich"),
                               function(p) as.character(packageVersion(p))))
write_json(out, "tests/reference/literature.json", auto_unbox = TRUE, digits = NA, pretty = TRUE)
